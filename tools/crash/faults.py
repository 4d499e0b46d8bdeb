"""System calls that fail, a file system that is full, and the order in which things become durable."""

import contextlib
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from clients import PATCH, TUS, Client
from ledger import Ledger, Lost
from service import Gone, Service, ask
from weights import Weights

# Each system call that stands between bytes and the disk, and how it fails; `when` is counted by thread.
FAULTS = [
    ("fsync", "error=EIO"), ("fdatasync", "error=EIO"), ("pwrite64", "error=ENOSPC"), ("pwrite64", "error=EIO"),
    ("renameat", "error=EIO"), ("renameat", "signal=KILL"), ("fsync", "signal=KILL"), ("fdatasync", "signal=KILL"),
    ("pwrite64", "signal=KILL"), ("fallocate", "error=ENOSPC"), ("unlinkat", "signal=KILL"), ("ftruncate", "signal=KILL"),
]
MOMENTS = [1, 2, 3, 5, 8]


def traced(fault: tuple[str, str], when: int) -> list[str]:
    call, effect = fault
    return ["strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", f"trace={call}",
            "-e", f"inject={call}:{effect}:when={when}+7"]


def disturbed(ledger: Ledger, port: int, seed: int, seconds: float) -> None:
    """A tolerant client: what is refused is not acknowledged, and nothing more is said of it."""
    stop = threading.Event()
    client = Client(ledger, port, seed, stop, tolerant=True)
    client.start()
    client.join(seconds)
    stop.set()
    client.join(120)
    if client.failure is not None:
        raise client.failure


def faults(viva: str, folder: Path, pool: list[Weights]) -> list[tuple[str, object]]:
    """Every fault at several moments; after each a start without it, and every promise checked."""
    if shutil.which("strace") is None:
        return [("system calls made to fail", "not run: there is no strace")]
    ledger, refused, seed = Ledger(pool), 0, 0
    data = folder / "faults"
    cases = list(itertools.product(FAULTS, MOMENTS))
    for fault, when in cases:
        seed += 1
        service = Service(viva, data, prefix=traced(fault, when))
        try:
            with contextlib.suppress(RuntimeError):  # It may fail before it listens: then nothing was promised.
                service.start()
                disturbed(ledger, service.port, seed, 1.0)
        finally:
            service.kill()
        plain = Service(viva, data)
        try:
            plain.start()
            ledger.check(plain.port, deep=seed % 10 == 0)
            plain.stop()
        except Gone as gone:
            raise Lost(f"after {fault} at {when}: {gone}") from gone
        except Lost as lost:
            raise Lost(f"after {fault} at {when}: {lost}") from lost
        finally:
            with contextlib.suppress(ProcessLookupError):
                plain.kill()
        print(f"{fault[0]} {fault[1]} at {when}: nothing lost", flush=True)
    refused = ledger.counts["requests refused"]
    return [("kinds of failing system calls x moments (strace -e inject)", len(cases)),
            ("... requests refused because of them", refused),
            ("... promises checked after them", sum(n for name, n in ledger.counts.items() if "checked" in name))]


def full_disk(viva: str, folder: Path, pool: list[Weights]) -> list[tuple[str, object]]:
    """A file system of 24 MiB that fills up, is killed full, and is of use again when things are removed."""
    place = folder / "full"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        return [("a full file system", "not run: mounting one needs root")]
    ledger, data = Ledger(pool), place / "data"
    try:
        for number in range(6):
            service = Service(viva, data, options=["--free-bytes-floor", "0"])
            service.start()
            try:
                ledger.check(service.port, deep=True)
                disturbed(ledger, service.port, 1000 + number, 3)
            finally:
                service.kill()
        service = Service(viva, data, options=["--free-bytes-floor", "0"])
        service.start()
        try:
            ledger.check(service.port, deep=True)
            for identifier in list(ledger.artifacts):
                ask(service.port, "DELETE", f"/v1/artifacts/{identifier}")
            for upload in ledger.uploads:
                ask(service.port, "DELETE", upload.location, fields=TUS)
            answer = ask(service.port, "POST", "/v1/quantize?method=int8", pool[0].bytes)
            if answer.status not in (200, 201):
                raise Lost(f"a disk with room again still refuses: {answer}")
            service.stop()
        finally:
            service.kill()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
    if ledger.counts["requests refused"] == 0:
        raise Lost("the file system never was full")
    return [("kills on a full file system of 24 MiB", 6),
            ("... requests refused for want of room", ledger.counts["requests refused"]),
            ("... promises checked", sum(n for name, n in ledger.counts.items() if "checked" in name))]


# By what was asked: the system calls that must have ended, in this order, before the answer begins.
DURABLE = {
    "POST /v1/quantize": [r"fsync\(\d+<.*/content>", r"renameat2?\(.*artifacts", r"fsync\(\d+<.*/artifacts>",
                          r"f(data)?sync\(\d+<.*catalogue\.sqlite-wal>"],
    "POST /v1/inputs": [r"fsync\(\d+<.*/content>", r"renameat2?\(.*inputs", r"fsync\(\d+<.*/inputs>",
                        r"f(data)?sync\(\d+<.*catalogue\.sqlite-wal>"],
    # The row comes first: a work folder without one is swept at a start, a row without one has offset 0.
    "POST /v1/uploads": [r"f(data)?sync\(\d+<.*catalogue\.sqlite-wal>", r"fsync\(\d+<.*/work>"],
    "PATCH /v1/uploads": [r"fsync\(\d+<.*/content>", r"f(data)?sync\(\d+<.*catalogue\.sqlite-wal>"],
    "last PATCH": [r"fsync\(\d+<.*/content>", r"renameat2?\(.*inputs", r"fsync\(\d+<.*/inputs>",
                   r"f(data)?sync\(\d+<.*catalogue\.sqlite-wal>"],
    "POST /v1/jobs": [r"f(data)?sync\(\d+<.*catalogue\.sqlite-wal>"],
}


def order(viva: str, folder: Path, pool: list[Weights]) -> list[tuple[str, object]]:
    """Every kind of acknowledged write under strace: its bytes, names and rows are on the disk before the answer."""
    if shutil.which("strace") is None:
        return [("order of writes", "not run: there is no strace")]
    proved = []
    with tempfile.NamedTemporaryFile("r", prefix="viva-trace-") as trace:
        calls = "fsync,fdatasync,renameat,renameat2,rename,sendto,sendmsg"
        service = Service(viva, folder / "order", prefix=[
            "strace", "-f", "-qq", "-y", "-s", "24", "--seccomp-bpf", "-o", trace.name, "-e", f"trace={calls}"])
        service.start()
        try:
            weights, other = pool[0], pool[1]
            half = len(weights.bytes) // 2
            steps = [("POST /v1/quantize", "/v1/quantize?method=nf4", weights.bytes, {}),
                     ("POST /v1/inputs", "/v1/inputs", other.bytes, {}),
                     ("POST /v1/uploads", "/v1/uploads", b"", {**TUS, "Upload-Length": str(len(weights.bytes))}),
                     ("PATCH /v1/uploads", None, weights.bytes[:half], {**PATCH, "Upload-Offset": "0"}),
                     ("last PATCH", None, weights.bytes[half:], {**PATCH, "Upload-Offset": str(half)}),
                     ("POST /v1/jobs", "/v1/jobs", json.dumps({"input": other.name, "method": "int8"}).encode(),
                      {"Content-Type": "application/json"})]
            location = None
            for name, target, body, fields in steps:
                time.sleep(0.3)  # So that nothing of the step before is still on its way.
                trace.seek(0, 2)
                answer = ask(service.port, "PATCH" if "PATCH" in name else "POST", target or location, body, fields)
                if answer.status not in (201, 202, 204):
                    raise Lost(f"{name}: {answer}")
                location = answer.fields.get("location", location)
                time.sleep(0.3)
                prove(name, ended(trace.read().splitlines()), DURABLE[name])
                proved.append(name)
        finally:
            service.kill()
    return [("durable before the answer, proved under strace", ", ".join(proved))]


def ended(lines: list[str]) -> list[str]:
    """The calls of a trace, each where it ended: strace tells a long one in two lines."""
    begun, calls = {}, []
    for line in lines:
        thread, _, rest = line.partition(" ")
        if "<unfinished ...>" in rest:
            begun[thread] = rest.split("<unfinished")[0]
            continue
        if match := re.match(r"\s*<\.\.\. \w+ resumed>", rest):
            rest = begun.pop(thread, "") + rest[match.end():]
        calls.append(rest)
    return calls


def prove(name: str, lines: list[str], wanted: list[str]) -> None:
    """The calls in `wanted` stand in the trace in their order, before the answer's first byte."""
    answers = [at for at, line in enumerate(lines) if re.search(r'send(to|msg)\(.*HTTP/1\.1 2', line)]
    if not answers:
        raise Lost(f"{name}: no answer in the trace")
    position = 0
    for pattern in wanted:
        found = next((at for at in range(position, answers[-1]) if re.search(pattern, lines[at])), None)
        if found is None:
            raise Lost(f"{name}: no {pattern} before the answer:\n" + "\n".join(lines[:answers[-1] + 1]))
        position = found + 1
