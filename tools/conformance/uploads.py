"""tuspy uploads over kills and restarts of the service: into an input, and into a quantization.

uploads.py [BYTES]   (default 48 MiB; 4 GiB is what the goals of the project speak of)

The service is killed (SIGKILL, parent and all) in the middle of requests. Afterwards the client asks for the offset,
which must be one that was acknowledged or a later one, and goes on from there. The input must be there by its digest;
the artifact must have the bytes of the one that a single request makes. Peak memory of the process that serves and the
most bytes that lay on the disk are printed.
"""

import hashlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import requests
from tusclient import client as tus
from tusclient.exceptions import TusCommunicationError

VIVA = os.environ["VIVA"]
KILLS = 5


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Service:
    """One data folder and address; as many lives as are wanted."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.peak_memory = 0
        self.process = None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [VIVA, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", self.folder],
            stderr=subprocess.DEVNULL, start_new_session=True)
        for _ in range(400):
            try:
                if requests.get(f"{self.url}/readyz", timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.025)
        raise SystemExit("uploads: the service does not come up")

    def processes(self):
        """The process that was started and those below it."""
        found = [self.process.pid]
        for pid in found:
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as children:
                    found += [int(child) for child in children.read().split()]
            except OSError:
                pass
        return found

    def note_memory(self):
        for pid in self.processes():
            try:
                with open(f"/proc/{pid}/status") as status:
                    line = next(line for line in status if line.startswith("VmHWM"))
                self.peak_memory = max(self.peak_memory, int(line.split()[1]) << 10)
            except (OSError, StopIteration):
                pass

    def kill(self):
        self.note_memory()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def disk(self):
        return int(subprocess.check_output(["du", "-s", "--block-size=1", self.folder]).split()[0])


def write_model(path, size):
    """A safetensors file of pseudo-random float32 weights, 4096 columns wide."""
    rows = max(2, size // (4096 * 4) // 8)
    names = [f"layers.{index}.weight" for index in range(8)]
    entries, end = {}, 0
    for name in names:
        entries[name] = {"dtype": "F32", "shape": [rows, 4096], "data_offsets": [end, end + rows * 4096 * 4]}
        end += rows * 4096 * 4
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    # Floats between 1 and 2, and their negatives: every bit pattern of the fraction, no exponent that is not finite.
    generator = random.Random(4)
    block = bytearray(generator.randbytes(4 << 20))
    block[3::4] = bytes(0x3F | (value & 0x80) for value in block[3::4])
    block[2::4] = bytes(value | 0x80 for value in block[2::4])
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        while end > 0:
            file.write(block[:end])
            end -= len(block)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def upload(service, path, query):
    """Uploads with kills in between; answers where the result is."""
    size = os.path.getsize(path)
    chunk = max(1 << 20, size // 24)
    uploader = tus.TusClient(f"{service.url}/v1/uploads{query}").uploader(
        path, chunk_size=chunk, metadata={"filename": os.path.basename(path)}, upload_checksum=size < 1 << 30)
    uploader.set_url(uploader.create_url())
    url, acknowledged, disk = uploader.url, 0, 0
    for kill in range(KILLS):
        # Whole chunks first, then one in whose middle the service dies.
        target = min(size - chunk, acknowledged + size // (KILLS + 2))
        uploader.upload(stop_at=target)
        acknowledged = uploader.offset
        timer = threading.Timer(random.uniform(0.0, 0.02 + chunk / (1 << 29)), service.kill)
        timer.start()
        try:
            while uploader.offset + chunk < size:
                uploader.upload_chunk()
                acknowledged = uploader.offset
        except (TusCommunicationError, requests.RequestException):
            pass
        timer.join()
        disk = max(disk, service.disk())
        service.start()
        uploader = tus.TusClient(f"{service.url}/v1/uploads").uploader(
            path, url=url, chunk_size=chunk, upload_checksum=size < 1 << 30)
        assert acknowledged <= uploader.offset <= size, (acknowledged, uploader.offset)
        print(f"  kill {kill + 1}: {acknowledged} acknowledged, goes on at {uploader.offset}")
        acknowledged = uploader.offset
    uploader.upload()
    disk = max(disk, service.disk())
    service.note_memory()
    head = requests.head(url, headers={"Tus-Resumable": "1.0.0"}, timeout=30)
    assert int(head.headers["Upload-Offset"]) == size
    return head.headers["Content-Location"], disk


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 48 << 20
    with tempfile.TemporaryDirectory(dir=os.environ.get("VIVA_WORK")) as work:
        path = os.path.join(work, "model.safetensors")
        write_model(path, size)
        size, name = os.path.getsize(path), digest(path)
        print(f"uploads: {size} bytes, killed {KILLS} times, tuspy 1.1.0")

        service = Service(os.path.join(work, "inputs"))
        try:
            location, disk = upload(service, path, "")
            assert location == f"/v1/inputs/sha256:{name}", location
            described = requests.get(service.url + location, timeout=30).json()
            assert described["bytes"] == size and described["tensor_count"] == 8
            print(f"input: whole; peak memory {service.peak_memory >> 20} MiB, disk {disk} bytes")
        finally:
            service.kill()

        whole = Service(os.path.join(work, "whole"))
        try:
            with open(path, "rb") as body:
                answer = requests.post(f"{whole.url}/v1/quantize?method=nf4", data=body, timeout=3600)
            assert answer.status_code == 201, answer.text
            expected = answer.json()
        finally:
            whole.kill()

        service = Service(os.path.join(work, "artifacts"))
        try:
            location, disk = upload(service, path, "?method=nf4")
            made = requests.get(service.url + location, timeout=30).json()
            assert made["digest"] == expected["digest"], (made["digest"], expected["digest"])
            assert made["summary"] == expected["summary"]
            assert not os.listdir(os.path.join(service.folder, "inputs"))
            print(
                f"quantization: the same artifact, {made['bytes']} bytes; peak memory {service.peak_memory >> 20} MiB,"
                f" disk {disk} bytes")
        finally:
            service.kill()


if __name__ == "__main__":
    main()
