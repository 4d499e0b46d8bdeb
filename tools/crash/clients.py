"""What the clients do while the service is killed: every kind of request that changes something."""

import json
import random
import threading
import time
import uuid

from ledger import Ledger, Lost, Upload
from service import Answer, Gone, ask
from weights import RECIPES, Weights

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
# A service may refuse for want of room or of a thread; it must never be wrong.
PASSING = {423, 429, 503, 507}


class Client(threading.Thread):
    """One client: random requests until the service is gone or it is told to stop."""

    def __init__(self, ledger: Ledger, port: int, seed: int, stop: threading.Event, tolerant: bool = False):
        super().__init__(daemon=True)
        self.ledger, self.port, self.stop, self.tolerant = ledger, port, stop, tolerant
        self.random = random.Random(seed)
        self.failure: Exception | None = None

    def run(self) -> None:
        actions = [self.quantize, self.send_input, self.put_input, self.upload, self.upload, self.go_on, self.go_on,
                   self.job, self.job, self.remove_artifact, self.remove_input, self.cancel_upload]
        while not self.stop.is_set():
            try:
                self.random.choice(actions)()
            except Gone:
                return
            except Exception as error:  # Told to whoever started the client.
                self.failure = error
                return

    def ask(self, method: str, target: str, body: bytes | None = None, fields: dict | None = None) -> Answer:
        answer = ask(self.port, method, target, body, fields)
        if answer.status >= 500 and answer.status not in PASSING and not self.tolerant:
            raise Lost(f"{method} {target}: {answer}")
        if answer.status >= 400:
            with self.ledger.lock:
                self.ledger.counts["requests refused"] += answer.status >= 500 or answer.status in PASSING
        return answer

    def pick(self) -> tuple[Weights, str]:
        return self.random.choice(self.ledger.pool), self.random.choice(RECIPES)

    def keep_artifact(self, identifier: str, digest: str) -> None:
        with self.ledger.lock:
            if self.ledger.known.get(identifier) != digest:
                raise Lost(f"artifact {identifier} has {digest}, not what an undisturbed service made")
            # Another client's removal may cross this answer: then only the next check can say whether it is there.
            self.ledger.artifacts[identifier] = digest
            self.ledger.removed.discard(identifier)
            self.ledger.counts["artifacts acknowledged"] += 1

    def quantize(self) -> None:
        weights, recipe = self.pick()
        self.ledger.attempt(weights, recipe)
        answer = self.ask("POST", f"/v1/quantize?{recipe}", weights.bytes)
        if answer.status in (200, 201):
            self.keep_artifact(answer.json["id"], answer.json["digest"])

    def send_input(self) -> None:
        weights, _ = self.pick()
        self.keep_input(self.ask("POST", "/v1/inputs", weights.bytes), weights)

    def put_input(self) -> None:
        weights, _ = self.pick()
        self.keep_input(self.ask("PUT", f"/v1/inputs/{weights.name}", weights.bytes), weights)

    def keep_input(self, answer: Answer, weights: Weights) -> None:
        if answer.status not in (200, 201):
            return
        with self.ledger.lock:
            self.ledger.inputs[weights.name] = weights
            self.ledger.counts["inputs acknowledged"] += 1

    def upload(self) -> None:
        weights, recipe = self.pick()
        wanted = recipe if self.random.random() < 0.5 else None
        if wanted:
            self.ledger.attempt(weights, wanted, later=True)
        answer = self.ask("POST", "/v1/uploads" + (f"?{wanted}" if wanted else ""), b"",
                          {**TUS, "Upload-Length": str(len(weights.bytes))})
        if answer.status != 201:
            return
        self.keep_sending(Upload(answer.fields["location"], weights, wanted))

    def go_on(self) -> None:
        with self.ledger.lock:
            if not self.ledger.uploads:
                return
            upload = self.ledger.uploads.pop(self.random.randrange(len(self.ledger.uploads)))
        self.keep_sending(upload)

    def keep_sending(self, upload: Upload) -> None:
        """Sends on; an upload that is not whole then, or whose fate a kill has left open, is looked at later."""
        try:
            self.send_on(upload)
        finally:
            with self.ledger.lock:
                if upload.offset < len(upload.weights.bytes):
                    self.ledger.uploads.append(upload)

    def send_on(self, upload: Upload) -> None:
        """Some PATCHes from the acknowledged offset; the last one names the result."""
        for _ in range(self.random.randint(1, 3)):
            end = min(len(upload.weights.bytes), upload.offset + self.random.randint(1, 400_000))
            piece = upload.weights.bytes[upload.offset:end]
            answer = self.ask("PATCH", upload.location, piece, {**PATCH, "Upload-Offset": str(upload.offset)})
            if answer.status == 409:
                raise Lost(f"{upload.location}: {upload.offset} was acknowledged, now {answer}")
            if answer.status != 204:
                return
            upload.offset = int(answer.fields["upload-offset"])
            with self.ledger.lock:
                self.ledger.counts["offsets acknowledged"] += 1
            if upload.offset == len(upload.weights.bytes):
                self.sealed(upload, answer.fields["content-location"])
                return

    def sealed(self, upload: Upload, location: str) -> None:
        if upload.recipe is None:
            if location != f"/v1/inputs/{upload.weights.name}":
                raise Lost(f"an upload of {upload.weights.name} became {location}")
            with self.ledger.lock:
                self.ledger.inputs[upload.weights.name] = upload.weights
            return
        identifier, digest = upload.weights.artifacts[upload.recipe]
        if location != f"/v1/artifacts/{identifier}":
            raise Lost(f"an upload that must become {identifier} became {location}")
        self.keep_artifact(identifier, digest)

    def job(self) -> None:
        weights, recipe = self.pick()
        with self.ledger.lock:
            if weights.name not in self.ledger.inputs:
                return
        self.ledger.attempt(weights, recipe, later=True)
        options = dict(pair.split("=") for pair in recipe.split("&"))
        method = options.pop("method")
        body = {"input": weights.name, "method": method, "options": typed(options)}
        key, text = f'"{uuid.uuid4()}"', json.dumps(body).encode()
        answer = self.ask("POST", "/v1/jobs", text, {"Content-Type": "application/json", "Idempotency-Key": key})
        if answer.status in (200, 202):
            identifier = answer.json["id"]
            with self.ledger.lock:
                self.ledger.jobs[identifier] = (weights, recipe)
                self.ledger.keys[identifier] = (key, text)
                self.ledger.counts["jobs acknowledged"] += 1

    def remove_artifact(self) -> None:
        with self.ledger.lock:
            if len(self.ledger.artifacts) < 20:
                return
            identifier = self.random.choice(list(self.ledger.artifacts))
            del self.ledger.artifacts[identifier]
            self.ledger.doubtful.add(identifier)
        self.ask("DELETE", f"/v1/artifacts/{identifier}")

    def remove_input(self) -> None:
        with self.ledger.lock:
            if len(self.ledger.inputs) < 5:
                return
            name = self.random.choice(list(self.ledger.inputs))
            del self.ledger.inputs[name]
            self.ledger.doubtful.add(name)
        self.ask("DELETE", f"/v1/inputs/{name}")

    def cancel_upload(self) -> None:
        with self.ledger.lock:
            if len(self.ledger.uploads) < 8:
                return
            upload = self.ledger.uploads.pop()
        answer = self.ask("DELETE", upload.location, fields=TUS)
        if answer.status not in (204, 404, 410, 423) and not self.tolerant:
            raise Lost(f"DELETE {upload.location}: {answer}")


def typed(options: dict[str, str]) -> dict:
    """Options of a query as JSON values."""
    words = {"true": True, "false": False}
    return {name: words.get(text, int(text) if text.isdigit() else text) for name, text in options.items()}


def run_clients(ledger: Ledger, port: int, count: int, seed: int, seconds: float, then) -> None:
    """Lets clients work for a while, calls `then` (a kill, a fault) under their load, and waits for their end."""
    stop = threading.Event()
    clients = [Client(ledger, port, seed * 100 + number, stop) for number in range(count)]
    for client in clients:
        client.start()
    time.sleep(seconds)
    then()
    stop.set()
    for client in clients:
        client.join(120)
        if client.is_alive():
            raise Lost("a request has no end")
        if client.failure is not None:
            raise client.failure
