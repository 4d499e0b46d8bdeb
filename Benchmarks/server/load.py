"""What is asked of each server, and how it is timed."""

import array
import hashlib
import json
import random
import re
import resource
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from peers import Peer, client_tls

MEBI = 1 << 20
BLOCK = 4 * MEBI
COLUMNS = 4096


def weights() -> bytes:
    """A block of 4 MiB of float32 weights, N(0, 0.02)."""
    source = random.Random(1)
    return array.array("f", (source.gauss(0, 0.02) for _ in range(MEBI // 4))).tobytes() * (BLOCK // MEBI)


class Client:
    """One connection. It writes blocks as they are and reads whole answers; threads may have one each."""

    def __init__(self, port: int, tls: bool = False):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = client_tls().wrap_socket(self.socket)

    def send(self, method: str, path: str, body=(), length: int = 0) -> tuple[int, dict, bytes]:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        self.socket.sendall(head.encode())
        for block in body:
            self.socket.sendall(block)
        return self.answer()

    def answer(self, keep: bool = True) -> tuple[int, dict, bytes]:
        """Reads an answer; without `keep` its body is counted and dropped."""
        buffer = bytearray(MEBI)
        received = b""
        while b"\r\n\r\n" not in received:
            count = self.socket.recv_into(buffer)
            if not count:
                raise SystemExit(f"bench-server: the connection ended within an answer: {received!r}")
            received += buffer[:count]
        head, rest = received.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        left = int(fields.get("content-length", 0)) - len(rest)
        body = [rest]
        while left > 0:
            count = self.socket.recv_into(buffer)
            if not count:
                raise SystemExit("bench-server: the connection ended within a body")
            left -= count
            if keep:
                body.append(bytes(buffer[:count]))
        return int(lines[0].split()[1]), fields, b"".join(body)

    def close(self) -> None:
        self.socket.close()


class Uploads:
    """Uploads of weights, each with other first bytes, so that none is known to the server before."""

    def __init__(self, mebibytes: int):
        self.block = weights()
        self.blocks = max(1, mebibytes * MEBI // BLOCK)
        self.length = self.blocks * BLOCK
        self.described = f"dtype=float32&shape={self.length // 4 // COLUMNS},{COLUMNS}"
        self.made = 0
        self.lock = threading.Lock()

    def target(self, peer: Peer, query: str | None, number: int = 0) -> tuple[str, str]:
        """Method and path of an upload: kept as it is, or quantized as `query` says."""
        if query:
            return "POST", f"/v1/quantize?{query}&{self.described}"
        method, path = peer.upload_request(number)
        return method, path + self.described if path.endswith("?") else path

    def body(self):
        with self.lock:
            self.made += 1
            first = array.array("f", [self.made / 1024]).tobytes()
        yield first + self.block[4:]
        for _ in range(self.blocks - 1):
            yield self.block

    def send(self, peer: Peer, kind: str, query: str | None = None) -> tuple[float, float]:
        """Uploads once, and removes what was made; returns MB/s and the server's CPU seconds a GB."""
        client = Client(peer.ports[kind], tls=kind == "tls")
        method, path = self.target(peer, query)
        spent, start = peer.seconds(), time.perf_counter()
        status, fields, answer = client.send(method, path, self.body(), self.length)
        taken = time.perf_counter() - start
        spent = peer.seconds() - spent
        if status not in (201, 204):
            raise SystemExit(f"bench-server: {status}: {answer.decode(errors='replace')}")
        remove(client, path, fields)
        client.close()
        return self.length / taken / 1e6, spent / self.length * 1e9

    def keep(self, peer: Peer, kind: str, query: str | None, path: str) -> str:
        """Uploads once for downloads; returns the path to ask for."""
        client = Client(peer.ports[kind], tls=kind == "tls")
        if query is None:
            client.send("PUT", path, self.body(), self.length)
            return path
        made = json.loads(client.send(*self.target(peer, query), self.body(), self.length)[2])
        client.close()
        return f"/v1/artifacts/{made['id']}/content"


def remove(client: Client, path: str, fields: dict) -> None:
    """What a server does not take back is written over by the next."""
    client.send("DELETE", fields.get("location", path) if path.startswith("/v1/") else path)


def download(peer: Peer, kind: str, path: str, times: int) -> tuple[float, float]:
    client = Client(peer.ports[kind], tls=kind == "tls")
    spent, start = peer.seconds(), time.perf_counter()
    total = 0
    for _ in range(times):
        client.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status, fields, _ = client.answer(keep=False)
        if status != 200:
            raise SystemExit(f"bench-server: {status} for {path}")
        total += int(fields["content-length"])
    taken = time.perf_counter() - start
    client.close()
    return total / taken / 1e6, (peer.seconds() - spent) / total * 1e9


def small_requests(peer: Peer, connections: int, seconds: int) -> tuple[float, float]:
    """Requests a second, and CPU microseconds of the server for each."""
    spent = peer.seconds()
    url = f"http://127.0.0.1:{peer.ports['plain']}{peer.small}"
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"bench-server: {url}: {output}")
    requests = int(re.search(r"(\d+) requests in", output)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    return rate, (peer.seconds() - spent) / requests * 1e6


def latency_beside_uploads(peer: Peer, uploads: Uploads, query: str | None, seconds: int) -> tuple[float, float]:
    """The 99th percentile in ms of 200 small requests a second, while 8 connections upload; and what those reach."""
    ends = threading.Event()
    sent = []

    def upload(number: int) -> None:
        while not ends.is_set():
            client = Client(peer.ports["plain"])
            method, path = uploads.target(peer, query, number)
            _, fields, _ = client.send(method, path, uploads.body(), uploads.length)
            sent.append(uploads.length)
            remove(client, path, fields)
            client.close()

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(8)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    with tempfile.NamedTemporaryFile(mode="r", suffix=".tsv") as log:
        subprocess.run(
            ["h2load", "--h1", "-c8", "-t1", "--rps=25", f"-D{seconds}", f"--log-file={log.name}",
             f"http://127.0.0.1:{peer.ports['plain']}{peer.small}"], check=True, capture_output=True)
        times = sorted(int(line.split("\t")[2]) for line in log if line.split("\t")[1] == "200")
    ends.set()
    for thread in threads:
        thread.join()
    if len(times) < 10 * seconds:
        raise SystemExit(f"bench-server: only {len(times)} small requests were answered beside uploads")
    return times[len(times) * 99 // 100] / 1000, sum(sent) / (time.perf_counter() - start) / 1e6


def idle_crowd(peer: Peer, count: int, seconds: int) -> tuple[float, float]:
    """Resident MiB with so many idle connections, each of which has asked once; requests a second beside them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    crowd = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", peer.ports["plain"]))
        client.sendall(f"GET {peer.small} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if not client.recv(4096).startswith(b"HTTP/1.1 200"):
            raise SystemExit("bench-server: an idle connection was not answered")
        crowd.append(client)
    resident = peer.resident()
    rate = small_requests(peer, 32, seconds)[0]
    for client in crowd:
        client.close()
    return resident, rate


def stages(uploads: Uploads) -> tuple[float, float]:
    """MB/s of SHA-256 (OpenSSL's, by Python) and of receiving over loopback: no server with a digest is faster."""
    start = time.perf_counter()
    digest = hashlib.sha256()
    for _ in range(uploads.blocks):
        digest.update(uploads.block)
    hashing = uploads.length / (time.perf_counter() - start) / 1e6
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()

    def send() -> None:
        for _ in range(uploads.blocks):
            client.sendall(uploads.block)
        client.close()

    sender = threading.Thread(target=send)
    start = time.perf_counter()
    sender.start()
    buffer = bytearray(MEBI)
    while server.recv_into(buffer):
        pass
    sender.join()
    server.close()
    return hashing, uploads.length / (time.perf_counter() - start) / 1e6
