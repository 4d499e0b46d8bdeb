#!/usr/bin/env python3
"""The release executable under valgrind's memcheck, asked in many ways by clients that stay, leave and break off.

    tools/sanitize/memcheck.py VIVA

Sanitizers see debug builds. What the optimizer makes of lifetimes shows here alone: Swift 6.3.1 freed a peer's name
before its last use in optimised code, where the name was longer than the 15 bytes that a string holds in place. Clients
therefore come to `[::]`, where names are long. The server runs without its supervisor, whose place this script takes
(valgrind 3.19 does not know pidfd_open): it hands over a channel and the listeners. Ends with status 1 if memcheck saw a
wrong read or write, or the server did not stay. Only the standard library is used; valgrind, openssl and strip
(binutils) are Debian packages.
"""

import gzip
import http.client
import json
import os
import random
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "http"))
from raw_requests import raw_requests  # noqa: E402

HOST = b"Host: localhost\r\n"
WEIGHTS = b"\x00\x3c\x00\x38" * 2048  # 32x128 float16
ROUTE = "/v1/quantize?method={}&dtype=float16&shape=32,128"


class Server:
    """`viva serve` under valgrind, on a plain and a TLS listener of `[::]`."""

    def __init__(self, viva: str, folder: Path):
        executable = folder / "viva"
        # valgrind 3.19 does not read all that Swift writes of DWARF 5; names of functions stay.
        subprocess.run(["strip", "--strip-debug", "-o", executable, viva], check=True)
        certificate, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.log, self.reports = folder / "log", folder / "report.%p"
        listeners = [socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) for _ in range(2)]
        for listener in listeners:
            listener.setblocking(False)
        self.port, self.secure_port = (listener.getsockname()[1] for listener in listeners)
        self.channel, far = socket.socketpair()
        handed = [far.fileno()] + [listener.fileno() for listener in listeners]
        # High first, so that none is overwritten on its way to its place.
        high = [os.dup2(number, 100 + place) for place, number in enumerate(handed)]

        def hand_over():
            for place, number in enumerate(high):
                os.dup2(number, 3 + place, inheritable=True)

        libraries = Path(viva).resolve().parent
        self.process = subprocess.Popen(
            ["valgrind", "--undef-value-errors=no", "--error-exitcode=9", "--num-callers=20",
             "--keep-stacktraces=alloc-and-free", f"--log-file={self.reports}", executable, "serve",
             "--data", folder / "data", "--auth", "none", "--listen", f"http://[::]:{self.port}",
             "--listen", f"https://[::]:{self.secure_port}", "--tls-cert", certificate, "--tls-key", key,
             "--supervised", "0", "1", "1"],
            stderr=self.log.open("wb"), preexec_fn=hand_over, close_fds=False,
            env=dict(os.environ, LD_LIBRARY_PATH=str(libraries)))
        for number in high:
            os.close(number)
        for listener in listeners:
            listener.close()
        deadline = time.monotonic() + 120
        while b'"listening"' not in self.log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("memcheck: the server did not start:\n" + self.log.read_text())
            time.sleep(0.2)

    def connect(self, secure: bool = False) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.secure_port if secure else self.port), timeout=60)
        if not secure:
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname="localhost")

    def whole(self, method: str, target: str, body: bytes | None = None, fields: dict | None = None) -> tuple[int, bytes]:
        """A request whose answer is read to its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, target, body=body, headers=fields or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def part(self, raw: bytes, reads: bool = True, resets: bool = False, secure: bool = False, waits: float = 0.0):
        """Bytes, at most one look at what comes back, and the end: orderly or as a reset."""
        try:
            with self.connect(secure) as connection:
                connection.sendall(raw)
                time.sleep(waits)
                if reads:
                    connection.settimeout(2)
                    connection.recv(100)
                if resets:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            # The server may close, and may be slow: what it did wrong, memcheck tells.
            pass

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=120)


def artifacts(server: Server) -> None:
    made = []
    for method in ("int8", "nf4", "int4", "fp8&format=compressed-tensors"):
        status, content = server.whole("POST", ROUTE.format(method), WEIGHTS)
        assert status == 201, content
        made.append(json.loads(content)["id"])
    assert server.whole("POST", ROUTE.format("nf4"), gzip.compress(WEIGHTS), {"Content-Encoding": "gzip"})[0] in (200, 201)
    for artifact in made:
        root = f"/v1/artifacts/{artifact}"
        for target in (root, root + "/content", root + "/report", root + "/dequantized", root + "/manifest"):
            server.whole("GET", target, fields={"Accept-Encoding": "gzip", "Accept": "text/html"})
            for resets in (False, True):
                server.part(f"GET {target} HTTP/1.1\r\n".encode() + HOST + b"\r\n", resets=resets)
        for ranges in ("bytes=0-9", "bytes=0-9,20-29", "bytes=-5", "bytes=9999999-", "bytes=" + "1-1," * 20):
            server.part(f"GET {root}/content HTTP/1.1\r\nRange: {ranges}\r\n".encode() + HOST + b"\r\n", resets=True)
    server.whole("DELETE", f"/v1/artifacts/{made[0]}")


def broken_uploads(server: Server, secure: bool) -> None:
    head = f"POST {ROUTE.format('nf4')} HTTP/1.1\r\n".encode() + HOST
    length = b"Content-Length: %d\r\n" % len(WEIGHTS)
    for resets in (False, True):
        for cut in (10, len(head), 1000, 5000):
            server.part((head + length + b"\r\n" + WEIGHTS)[:cut], reads=False, resets=resets, secure=secure, waits=0.2)
        server.part(head + length + b"Expect: 100-continue\r\n\r\n", resets=resets, secure=secure)
        server.part(head + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n" + WEIGHTS[:4096], False, resets, secure, 0.2)
        server.part(head + b"Transfer-Encoding: chunked\r\n\r\n2000\r\n" + WEIGHTS + b"\r\n0\r\nT: x\r\n\r\n", True, resets, secure)
        server.part((b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n") * 40, True, resets, secure)


def job(server: Server) -> None:
    status, content = server.whole("POST", "/v1/inputs?dtype=float16&shape=32,128", WEIGHTS)
    assert status in (200, 201), content
    order = {"input": json.loads(content)["id"], "method": "nf4", "dtype": "float16", "shape": [32, 128]}
    status, content = server.whole("POST", "/v1/jobs", json.dumps(order).encode(), {"Content-Type": "application/json"})
    assert status in (200, 201, 202), content
    root = f"/v1/jobs/{json.loads(content)['id']}"
    server.part(f"GET {root}/events HTTP/1.1\r\n".encode() + HOST + b"\r\n", resets=True)
    for _ in range(600):
        if json.loads(server.whole("GET", root)[1])["state"] not in ("queued", "running"):
            break
        time.sleep(0.2)
    assert json.loads(server.whole("GET", root)[1])["state"] == "succeeded"
    server.whole("GET", f"{root}/events")


def crowd(server: Server) -> None:
    """Clients at once, who take the threads from each other."""
    def client(seed: int):
        choice = random.Random(seed)
        for _ in range(6):
            raw = f"POST {ROUTE.format('int8')} HTTP/1.1\r\n".encode() + HOST + b"Content-Length: 8192\r\n\r\n" + WEIGHTS
            server.part(raw[:choice.choice((300, 4000, len(raw)))], choice.random() < 0.5, choice.random() < 0.5)
    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> int:
    for tool in ("valgrind", "openssl", "strip"):
        if not shutil.which(tool):
            sys.exit(f"memcheck: {tool} is missing: apt-get install valgrind openssl binutils")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(sys.argv[1], Path(folder))
        began = time.monotonic()
        try:
            artifacts(server)
            for target in ("/livez", "/readyz", "/metrics", "/v1/methods", "/openapi.yaml", "/v1/artifacts", "/v1/requests", "/", "/x"):
                for secure in (False, True):
                    for resets in (False, True):
                        server.part(f"GET {target} HTTP/1.1\r\n".encode() + HOST + b"\r\n", True, resets, secure)
            for secure in (False, True):
                broken_uploads(server, secure)
            job(server)
            requests = list(raw_requests())
            for number, request in enumerate(requests):
                server.part(request, resets=number % 2 == 0)
            crowd(server)
            assert server.whole("GET", "/livez")[0] == 200
        finally:
            status = server.stop()
        reports = "".join(page.read_text(errors="replace") for page in Path(folder).glob("report.*"))
        if status:
            demangled = subprocess.run(["swift", "demangle", "--simplified"], input=reports, capture_output=True, text=True)
            print(demangled.stdout[:20_000])
            print(server.log.read_text()[-2000:])
        print(f"memcheck: {len(requests)} raw requests and {time.monotonic() - began:.0f} s of others, status {status}")
        return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
