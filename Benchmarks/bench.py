#!/usr/bin/env python3
"""The whole server beside the slowest of its stages, measured in one run on one machine, printed as Markdown.

    bench.py [--url URL] [--mebibytes 1024] [--runs 3]

Stages: SHA-256 of the input, receiving it over loopback, writing and fsyncing an artifact of NF4's size.
Server: POST of raw float32 weights, from the first byte sent to the answer (artifact durable), for each method.
bitsandbytes: quantize_4bit of a 4096x4096 float32 weight in memory, when `make conformance` has installed it.
All rates are input bytes a second (the file's: bytes written), medians of alternated runs.
"""

import argparse
import array
import hashlib
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

MEBI = 1 << 20
ROOT = Path(__file__).resolve().parent.parent
METHODS = {
    "NF4, double quantization": "method=nf4",
    "NF4": "method=nf4&double_quant=false",
    "NF4, reference, double quantization": "method=nf4&mode=reference",
    "NF4, reference": "method=nf4&mode=reference&double_quant=false",
    "INT8": "method=int8",
}
BITSANDBYTES = """
import time, torch, bitsandbytes.functional as F
torch.set_num_threads({threads})
w = torch.randn(4096, 4096) * 0.02
F.quantize_4bit(w, quant_type="nf4", compress_statistics=True)
start = time.perf_counter()
F.quantize_4bit(w, quant_type="nf4", compress_statistics=True)
print(w.numel() * 4 / (time.perf_counter() - start) / 1e6)
"""


def weights() -> bytes:
    """A block of 4 MiB of float32 weights, N(0, 0.02)."""
    source = random.Random(1)
    return array.array("f", (source.gauss(0, 0.02) for _ in range(MEBI // 4))).tobytes() * 4


def rate(count: int, work) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start) / 1e6


def sha256(block: bytes, blocks: int) -> None:
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(block)
    digest.digest()


def loopback(block: bytes, blocks: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()

        def send():
            for _ in range(blocks):
                client.sendall(block)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        buffer = bytearray(MEBI)
        while server.recv_into(buffer):
            pass
        sender.join()
        client.close()
        server.close()


def write_file(block: bytes, blocks: int, folder: str) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(blocks):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


class Server:
    """The running service; every upload is new to it, and is removed afterwards."""

    def __init__(self, url: str, block: bytes, blocks: int):
        self.address = urllib.parse.urlsplit(url).netloc
        self.block, self.blocks, self.uploads = block, blocks, 0

    def quantize(self, query: str) -> None:
        rows = len(self.block) * self.blocks // 4 // 4096
        self.uploads += 1
        first = array.array("f", [self.uploads / 1024]).tobytes() + self.block[4:]
        connection = http.client.HTTPConnection(self.address, timeout=600)

        def body():
            yield first
            for _ in range(self.blocks - 1):
                yield self.block

        headers = {"Content-Length": str(len(self.block) * self.blocks)}
        path = f"/v1/quantize?{query}&dtype=float32&shape={rows},4096"
        connection.request("POST", path, body=body(), headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 201:
            sys.exit(f"bench: {answer.status}: {text.decode(errors='replace')}")
        self.made = json.loads(text)["id"]
        connection.close()

    def remove(self) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request("DELETE", f"/v1/artifacts/{self.made}")
        connection.getresponse().read()
        connection.close()


def peak_memory() -> str:
    """Peak RSS of the service, where with-server.sh says which process it is."""
    try:
        status = Path(f"/proc/{os.environ['VIVA_PID']}/status").read_text()
        kibibytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return f"{kibibytes / 1024:.0f} MiB"
    except (KeyError, OSError, StopIteration):
        return "unknown"


def bitsandbytes(threads: int):
    python = ROOT / ".venv-conformance" / "bin" / "python"
    if not python.exists():
        return None
    made = subprocess.run([python, "-c", BITSANDBYTES.format(threads=threads)], capture_output=True, text=True)
    return float(made.stdout) if made.returncode == 0 else None


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", default=os.environ.get("VIVA_URL", "http://127.0.0.1:8080"))
    options.add_argument("--mebibytes", type=int, default=1024)
    options.add_argument("--runs", type=int, default=3)
    chosen = options.parse_args()
    block = weights()
    blocks = max(1, chosen.mebibytes * MEBI // len(block))
    total = blocks * len(block)
    server = Server(chosen.url, block, blocks)
    output = max(1, blocks // 8)
    folder = os.environ.get("TMPDIR", "/tmp")
    stages = {
        "SHA-256": (total, lambda: sha256(block, blocks)),
        "loopback receive": (total, lambda: loopback(block, blocks)),
        "file write and fsync": (output * len(block), lambda: write_file(block, output, folder)),
    }
    measured = {name: [] for name in [*stages, *METHODS]}
    for _ in range(chosen.runs):
        for name, (count, work) in stages.items():
            measured[name].append(rate(count, work))
        for name, query in METHODS.items():
            measured[name].append(rate(total, lambda: server.quantize(query)))
            server.remove()
    median = {name: statistics.median(values) for name, values in measured.items()}
    # An artifact is an eighth of its input: in input bytes the disk may be eight times faster than it writes.
    slowest = min(median["SHA-256"], median["loopback receive"], 8 * median["file write and fsync"])
    print(f"{total // MEBI} MiB a run, {chosen.runs} runs, {os.cpu_count()} cores\n")
    print("| what | MB/s | of the slowest stage |\n|---|---:|---:|")
    for name in stages:
        print(f"| {name} | {median[name]:.0f} | |")
    for name in METHODS:
        print(f"| **POST, {name}** | {median[name]:.0f} | {100 * median[name] / slowest:.0f} % |")
    for threads in (1, os.cpu_count()):
        figure = bitsandbytes(threads)
        if figure:
            print(f"| bitsandbytes NF4 in memory, {threads} threads | {figure:.0f} | |")
    print(f"\nPeak memory of the service: {peak_memory()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
