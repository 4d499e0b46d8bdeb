"""What was acknowledged, and whether it is still true."""

import collections
import hashlib
import threading

from service import Answer, Gone, ask
from weights import Weights


class Lost(Exception):
    """Something that was acknowledged is not there, or something is there that nobody was told of."""


class Upload:
    """A resumable upload: the offset that was acknowledged last, and what lies behind it."""

    def __init__(self, location: str, weights: Weights, recipe: str | None):
        self.location, self.weights, self.recipe = location, weights, recipe
        self.offset = 0


class Ledger:
    """Every promise of the service, by kind; each client thread adds, the checks between two starts read.

    A thing whose removal was asked for is in doubt until the next check: others may have sent it again meanwhile.
    """

    def __init__(self, pool: list[Weights]):
        self.pool = pool
        self.lock = threading.Lock()
        self.inputs: dict[str, Weights] = {}
        self.artifacts: dict[str, str] = {}  # id -> digest
        self.uploads: list[Upload] = []
        self.jobs: dict[str, tuple[Weights, str]] = {}
        self.keys: dict[str, tuple[str, bytes]] = {}  # job -> key and request
        self.removed: set[str] = set()
        self.returning: set[str] = set()  # artifacts that a job or an upload may still make
        self.doubtful: set[str] = set()
        self.counts = collections.Counter()
        self.by_name = {weights.name: weights for weights in pool}
        self.known = {pair[0]: pair[1] for weights in pool for pair in weights.artifacts.values()}

    def attempt(self, weights: Weights, recipe: str, later: bool = False) -> None:
        """Notes that an artifact may come about from now on: by a request, or later by a job or an upload."""
        identifier = weights.artifacts[recipe][0]
        with self.lock:
            self.removed.discard(identifier)
            if later:
                self.returning.add(identifier)

    def check(self, port: int, deep: bool) -> None:
        """Compares every promise with what the service says now, while no client runs.

        `deep` looks at every job and reads every artifact to its end.
        """
        for name, weights in list(self.inputs.items()):
            self.check_input(port, name, weights, deep)
        for identifier, digest in list(self.artifacts.items()):
            self.check_artifact(port, identifier, digest, deep)
        for upload in list(self.uploads):
            self.check_upload(port, upload)
        for identifier in list(self.jobs)[-20:] if not deep else list(self.jobs):
            self.check_job(port, identifier)
        self.check_keys(port, 3)
        self.settle(port)
        self.check_lists(port)

    def check_input(self, port: int, name: str, weights: Weights, deep: bool) -> None:
        answer = ask(port, "GET", f"/v1/inputs/{name}")
        if answer.status == 404 and name in self.doubtful:
            del self.inputs[name]
        elif answer.status != 200 or answer.json["bytes"] != len(weights.bytes):
            raise Lost(f"input {name}: {answer}")
        self.counts["inputs checked"] += 1

    def check_artifact(self, port: int, identifier: str, digest: str, deep: bool) -> None:
        answer = ask(port, "GET" if deep else "HEAD", f"/v1/artifacts/{identifier}/content")
        if answer.status == 404 and identifier in self.doubtful:
            del self.artifacts[identifier]
            return
        if answer.status != 200 or answer.fields["etag"] != f'"{digest.replace(":", "-")}"':
            raise Lost(f"artifact {identifier}: {answer}")
        if deep and "sha256:" + hashlib.sha256(answer.body).hexdigest() != digest:
            raise Lost(f"artifact {identifier} is not whole")
        self.counts["artifacts checked"] += 1

    def check_upload(self, port: int, upload: Upload) -> None:
        answer = ask(port, "HEAD", upload.location, fields={"Tus-Resumable": "1.0.0"})
        if answer.status not in (200, 204):
            raise Lost(f"upload {upload.location} at {upload.offset}: {answer}")
        offset = int(answer.fields["upload-offset"])
        if not upload.offset <= offset <= len(upload.weights.bytes):
            raise Lost(f"upload {upload.location}: {offset} after {upload.offset} was acknowledged")
        upload.offset = offset
        if "content-location" in answer.fields:
            # Made whole by a request whose answer was lost: its result must be there.
            found = ask(port, "GET", answer.fields["content-location"])
            if found.status != 200 and not self.doubtful:
                raise Lost(f"{upload.location} became {answer.fields['content-location']}: {found}")
            self.uploads.remove(upload)
        self.counts["offsets checked"] += 1

    def check_job(self, port: int, identifier: str) -> None:
        answer = ask(port, "GET", f"/v1/jobs/{identifier}")
        if answer.status != 200 or answer.json["state"] in ("failed", "cancelled"):
            raise Lost(f"job {identifier}: {answer}")
        self.counts["jobs checked"] += 1

    def check_keys(self, port: int, sample: int) -> None:
        """The same request under the same key is the same job, after any number of restarts."""
        for identifier, (key, body) in list(self.keys.items())[-sample:]:
            answer = ask(port, "POST", "/v1/jobs", body, {"Content-Type": "application/json", "Idempotency-Key": key})
            if answer.status not in (200, 202) or answer.json["id"] != identifier:
                raise Lost(f"the key {key} of job {identifier} made {answer}")
            self.counts["idempotency keys checked"] += 1

    def settle(self, port: int) -> None:
        """Ends every doubt: after a restart, what is there is there, and what is not there is gone."""
        for name in self.doubtful:
            path = f"/v1/inputs/{name}" if name in self.by_name else f"/v1/artifacts/{name}"
            answer = ask(port, "GET", path)
            if answer.status == 404:
                self.inputs.pop(name, None)
                self.artifacts.pop(name, None)
                self.removed.add(name)
            elif answer.status != 200:
                raise Lost(f"{path}: {answer}")
            elif name in self.by_name:
                self.inputs[name] = self.by_name[name]
            else:
                self.artifacts[name] = self.known[name]
        self.doubtful.clear()

    def check_lists(self, port: int) -> None:
        """Nothing is visible that was never whole: whatever is listed is one of the things that can be."""
        for item in everything(port, "/v1/artifacts"):
            if self.known.get(item["id"]) != item["digest"]:
                raise Lost(f"an artifact that nobody made: {item['id']} {item['digest']}")
            if item["id"] in self.removed - self.returning:
                raise Lost(f"a removed artifact came back: {item['id']}")
        for item in everything(port, "/v1/inputs"):
            if item["id"] not in self.by_name:
                raise Lost(f"an input that nobody sent: {item['id']}")


def everything(port: int, target: str) -> list[dict]:
    """All items of a list, page by page."""
    items, cursor = [], None
    while True:
        page = ask(port, "GET", f"{target}?limit=1000" + (f"&cursor={cursor}" if cursor else ""))
        if page.status != 200:
            raise Lost(f"{target}: {page}")
        items += page.json["items"]
        cursor = page.json["next"]
        if cursor is None:
            return items


__all__ = ["Answer", "Gone", "Ledger", "Lost", "Upload", "everything"]
