"""Mixed traffic for long, with clients that break off anywhere: no byte may be wrong, and nothing may grow.

    tools/hostile/soak.py VIVA [--seconds S] [--clients N] [--write PAGE]

Each client does one thing after the other: one-shot quantizing, uploads in pieces that go on where they broke off,
downloads whole and in ranges, restored weights, jobs with their events. A third of what it begins it ends in the middle,
by a reset or an orderly close. What came whole is compared with the digest that was known before. Only the standard
library is used.
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "crash"))
from service import Service, ask  # noqa: E402

# What a client rests between two things, so that others on the machine can work.
PAUSE = 0.15
WARM_UP = 60


class BrokenOff(Exception):
    """This client went away, as it had chosen to."""


class Wire:
    """One connection that may end itself after a number of bytes, either way."""

    def __init__(self, port: int, dice: random.Random, may_break: bool = True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.left = int(dice.expovariate(1 / 200_000)) if may_break and dice.random() < 0.33 else None
        self.resets = dice.random() < 0.5
        self.buffer = b""

    def spend(self, count: int) -> int:
        """How many of `count` bytes may still go through."""
        if self.left is None:
            return count
        if self.left <= 0:
            if self.resets:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()
            raise BrokenOff
        count = min(count, self.left)
        self.left -= count
        return count

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = self.spend(min(len(view), 65536))
            self.socket.sendall(view[:count])
            view = view[count:]

    def more(self) -> bytes:
        part = self.socket.recv(self.spend(65536))
        if not part:
            raise ConnectionError("the server ended the connection")
        return part

    def head(self) -> tuple[int, dict]:
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.more()
        text, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = text.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        status = int(lines[0].split()[1])
        return self.head() if status < 200 else (status, fields)

    def ask(self, method: str, target: str, body: bytes = b"", fields: dict | None = None) -> tuple[int, dict, bytes]:
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
        if method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {len(body)}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.send(body)
        status, fields = self.head()
        length = 0 if method == "HEAD" or status in (204, 304) else int(fields.get("content-length", 0))
        while len(self.buffer) < length:
            self.buffer += self.more()
        content, self.buffer = self.buffer[:length], self.buffer[length:]
        return status, fields, content


class World:
    """What is right, and what was found."""

    def __init__(self, service: Service):
        self.service = service
        self.lock = threading.Lock()
        self.done: Counter = Counter()
        self.wrong: list[str] = []
        self.over = threading.Event()
        self.inputs = []
        for seed, (rows, columns) in enumerate([(256, 1024), (512, 2048), (64, 256)]):
            dice = random.Random(seed)
            tensor = b"".join(struct.pack("<f", dice.gauss(0, 0.02)) for _ in range(1 << 14)) * (rows * columns >> 14 or 1)
            tensor = tensor[:rows * columns * 4]
            header = json.dumps({"w": {"dtype": "F32", "shape": [rows, columns], "data_offsets": [0, len(tensor)]}}).encode()
            body = struct.pack("<Q", len(header)) + header + tensor
            for method in ("nf4", "int8", "int4"):
                answer = ask(service.port, "POST", f"/v1/quantize?method={method}", body)
                assert answer.status == 201, answer
                content = ask(service.port, "GET", f"/v1/artifacts/{answer.json['id']}/content").body
                assert "sha256:" + hashlib.sha256(content).hexdigest() == answer.json["digest"]
                plain = ask(service.port, "GET", f"/v1/artifacts/{answer.json['id']}/dequantized?dtype=float32")
                assert plain.status == 200, plain
                self.inputs.append((body, method, answer.json["id"], content, plain.body))

    def check(self, right: bool, what: str) -> None:
        if not right:
            with self.lock:
                self.wrong.append(what)


def one_shot(world: World, dice: random.Random) -> None:
    body, method, name, _, _ = dice.choice(world.inputs)
    status, _, answer = Wire(world.service.port, dice).ask("POST", f"/v1/quantize?method={method}", body)
    world.check(status in (200, 201) and json.loads(answer)["id"] == name, f"quantize: {status} {answer[:200]!r}")


def fresh(world: World, dice: random.Random) -> None:
    """An input that nobody sent before; its artifact is removed, so that the disk stays as it is."""
    rows = dice.choice([16, 200, 700])
    body = struct.pack("<512f", *(dice.uniform(-1, 1) for _ in range(512))) * rows
    wire = Wire(world.service.port, dice)
    status, _, answer = wire.ask("POST", f"/v1/quantize?method=nf4&dtype=float32&shape={rows},512", body)
    world.check(status == 201, f"fresh: {status} {answer[:200]!r}")
    if status == 201:
        gone = ask(world.service.port, "DELETE", f"/v1/artifacts/{json.loads(answer)['id']}")
        world.check(gone.status == 204, f"delete: {gone}")


def download(world: World, dice: random.Random) -> None:
    _, _, name, content, _ = dice.choice(world.inputs)
    status, _, answer = Wire(world.service.port, dice).ask("GET", f"/v1/artifacts/{name}/content")
    world.check(status == 200 and answer == content, f"download: {status}, {len(answer)} bytes")


def ranges(world: World, dice: random.Random) -> None:
    _, _, name, content, _ = dice.choice(world.inputs)
    wire = Wire(world.service.port, dice)
    for _ in range(5):
        start = dice.randrange(len(content))
        end = dice.randrange(start, len(content))
        status, _, answer = wire.ask("GET", f"/v1/artifacts/{name}/content", fields={"Range": f"bytes={start}-{end}"})
        world.check(status == 206 and answer == content[start:end + 1], f"range: {status}, {len(answer)} bytes")


def restored(world: World, dice: random.Random) -> None:
    _, _, name, _, plain = dice.choice(world.inputs)
    status, _, answer = Wire(world.service.port, dice).ask("GET", f"/v1/artifacts/{name}/dequantized?dtype=float32")
    world.check(status == 200 and answer == plain, f"restored: {status}, {len(answer)} bytes")


def upload(world: World, dice: random.Random) -> None:
    """In pieces, each of which may break off; what was acknowledged is not sent again."""
    body, method, name, _, _ = dice.choice(world.inputs)
    tus = {"Tus-Resumable": "1.0.0"}
    made = ask(world.service.port, "POST", f"/v1/uploads?method={method}", b"", {**tus, "Upload-Length": str(len(body))})
    world.check(made.status == 201, f"upload: {made}")
    place = made.fields["location"]
    if dice.random() < 0.1:
        gone = ask(world.service.port, "DELETE", place, fields=tus)
        world.check(gone.status == 204, f"upload ended: {gone}")
        return
    offset = 0
    while offset < len(body) and not world.over.is_set():
        piece = body[offset:offset + dice.choice([100_000, 1_000_000, len(body)])]
        try:
            Wire(world.service.port, dice).ask("PATCH", place, piece, {
                **tus, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"})
        except BrokenOff:
            world.done["broken off"] += 1
        head = ask(world.service.port, "HEAD", place, fields=tus)
        if head.status not in (200, 204):
            world.check(False, f"upload's offset: {head}")
            return
        world.check(int(head.fields["upload-offset"]) >= offset, "an offset went back")
        offset = int(head.fields["upload-offset"])


def follow(world: World, dice: random.Random) -> None:
    """A job, and its events for as long as the client likes."""
    body, method, _, _, _ = dice.choice(world.inputs)
    digest = hashlib.sha256(body).hexdigest()
    put = ask(world.service.port, "PUT", f"/v1/inputs/sha256:{digest}", body)
    world.check(put.status in (200, 201), f"input: {put}")
    order = json.dumps({"input": f"sha256:{digest}", "method": method}).encode()
    made = ask(world.service.port, "POST", "/v1/jobs", order, {"Content-Type": "application/json"})
    world.check(made.status in (200, 202), f"job: {made}")
    if made.status not in (200, 202):
        return
    wire = Wire(world.service.port, dice)
    wire.send(f"GET /v1/jobs/{made.json['id']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    status, _ = wire.head()
    world.check(status == 200, f"events: {status}")
    deadline = time.monotonic() + 30
    while b"\r\n0\r\n\r\n" not in wire.buffer and time.monotonic() < deadline:
        wire.buffer += wire.more()
    world.check(b"event: " in wire.buffer, f"no event in {wire.buffer[:200]!r}")
    wire.socket.close()


KINDS = [one_shot, fresh, download, download, ranges, restored, upload, follow]


def client(world: World, seed: int) -> None:
    dice = random.Random(seed)
    while not world.over.is_set():
        kind = dice.choice(KINDS)
        try:
            kind(world, dice)
            world.done[kind.__name__] += 1
        except BrokenOff:
            world.done["broken off"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it was, it is a finding
            world.check(False, f"{kind.__name__}: {error!r}")
        time.sleep(PAUSE * dice.random() * 2)


def state(service: Service, server: int, data: Path) -> dict:
    """What could grow."""
    status = Path(f"/proc/{server}/status").read_text()
    temporary = sum(1 for folder in ("staging", "work") for _ in (data / folder).glob("*"))
    return {"MiB": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024,
            "descriptors": len(list(Path(f"/proc/{server}/fd").iterdir())),
            "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]), "temporary files": temporary}


def settled(service: Service, server: int, data: Path) -> dict:
    """The state when nobody asks for anything: uploads that were left are removed first."""
    time.sleep(6)
    for folder in sorted((data / "work").glob("*")):
        ask(service.port, "DELETE", f"/v1/uploads/{folder.name}", fields={"Tus-Resumable": "1.0.0"})
    time.sleep(2)
    return state(service, server, data)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("viva")
    options.add_argument("--seconds", type=float, default=3600)
    options.add_argument("--clients", type=int, default=6)
    options.add_argument("--write", type=Path)
    chosen = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        service = Service(chosen.viva, data, options=["--log-sample", "0"])
        service.start()
        try:
            text, failures = soak(service, data, chosen)
        finally:
            service.stop()
    print(text)
    for failure in failures[:20]:
        print(f"soak: {failure}", file=sys.stderr)
    if chosen.write:
        page = chosen.write.read_text()
        block = f"<!-- soak:begin -->\n{text}\n<!-- soak:end -->"
        chosen.write.write_text(re.sub(r"<!-- soak:begin -->.*?<!-- soak:end -->", lambda _: block, page, flags=re.S))
    return 1 if failures else 0


def soak(service: Service, data: Path, chosen) -> tuple[str, list[str]]:
    server = next(pid for pid in service.children() if "--supervised" in Path(f"/proc/{pid}/cmdline").read_text())
    world = World(service)
    began = time.monotonic()

    def run(seconds: float, seed: int) -> None:
        world.over.clear()
        clients = [threading.Thread(target=client, args=(world, seed + index)) for index in range(chosen.clients)]
        for thread in clients:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(30, max(0, end - time.monotonic())))
            now = state(service, server, data)
            print(f"{time.monotonic() - began:6.0f} s  {sum(world.done.values()):,} done, "
                  + ", ".join(f"{value:.0f} {name}" for name, value in now.items()), file=sys.stderr, flush=True)
        world.over.set()
        for thread in clients:
            thread.join()

    run(min(WARM_UP, chosen.seconds / 4), 1000)
    first = settled(service, server, data)
    run(chosen.seconds - min(WARM_UP, chosen.seconds / 4), 2000)
    last = settled(service, server, data)
    failures = list(world.wrong)
    if "--supervised" not in Path(f"/proc/{server}/cmdline").read_text():
        failures.append("the server did not live through it")
    # Threads that exist keep their stacks, and the allocator some of what it had at the height.
    for name, slack in (("MiB", 24), ("descriptors", 0), ("temporary files", 0)):
        if last[name] > first[name] + slack:
            failures.append(f"{name}: {first[name]:.0f} after warming up, {last[name]:.0f} in the end")
    kinds = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in sorted(world.done.items()))
    lines = ["| | after warming up | in the end |", "|---|---|---|"]
    lines += [f"| {name} | {first[name]:.0f} | {last[name]:.0f} |" for name in first]
    lines += ["", f"{time.monotonic() - began:,.0f} s of `make soak` with {chosen.clients} clients: {kinds}; "
              f"{len(world.wrong)} wrong answers. Uploads that were left in the middle were removed by request."]
    return "\n".join(lines), failures


if __name__ == "__main__":
    sys.exit(main())
