"""Slow clients by the thousand (slowhttptest) while another client is served, and 10,000 connections that rest.

    tools/hostile/slow.py VIVA [--connections N] [--seconds S] [--idle N] [--write PAGE]

The other client asks for health and sends a small file to be planned, in turn, on one connection and now and then on a
new one, a hundred times a second: one request that the loop answers, one that takes a thread, none that waits for the
disk. Its p99 under each attack must stay within twice its p99 without one, and nothing may
fail. Only the standard library is used; slowhttptest is a Debian package.
"""

import argparse
import http.client
import os
import platform
import random
import re
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "crash"))
from service import Service, ask  # noqa: E402

RATE = 100
HEADER = b'{"w":{"dtype":"F32","shape":[64,64],"data_offsets":[0,16384]}}'
FILE = struct.pack("<Q", len(HEADER)) + HEADER + bytes(16384)
SMALL = "/v1/quantize?method=int8&dtype=float32&shape=64,64"


class Client(threading.Thread):
    """The client that must not notice."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        self.port, self.over = port, threading.Event()
        self.times: list[float] = []
        self.errors: list[str] = []

    def run(self):
        connection, count, due = None, 0, time.monotonic()
        while not self.over.is_set():
            if connection is None or count % 20 == 0:
                if connection:
                    connection.close()
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            began = time.perf_counter()
            try:
                if count % 2:
                    connection.request("POST", "/v1/plan?methods=int8", body=FILE)
                else:
                    connection.request("GET", "/livez")
                answer = connection.getresponse()
                answer.read()
                if answer.status not in (200, 201):
                    self.errors.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(repr(error))
                connection = None
            self.times.append((time.perf_counter() - began) * 1000)
            count += 1
            due += 1 / RATE
            time.sleep(max(0, due - time.monotonic()))

    def finish(self) -> dict:
        self.over.set()
        self.join()
        times = sorted(self.times)
        return {"p50": statistics.median(times), "p99": times[int(len(times) * 0.99)], "worst": times[-1],
                "requests": len(times), "errors": self.errors}


def figures(service: Service, server: int) -> dict:
    """Resident memory, threads and descriptors of the server, and how often its limits were reached."""
    status = Path(f"/proc/{server}/status").read_text()
    text = ask(service.port, "GET", "/metrics").body.decode()
    limits = {name: int(float(count)) for name, count in
              re.findall(r'http_server_limit_reached_total\{limit="([^"]+)"\} (\S+)', text)}
    connections = re.search(r"^http_server_open_connections (\S+)", text, re.M)
    return {"rss": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024,
            "own": int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024,
            "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
            "connections": int(float(connections[1])), "limits": limits}


def measure(service: Service, server: int, seconds: float, attack: list[str] | None) -> dict:
    """The other client's figures while `attack` runs."""
    before = figures(service, server)["limits"]
    process = None
    if attack:
        process = subprocess.Popen(attack, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # They connect at 1,000 a second.
        time.sleep(3)
    client = Client(service.port)
    client.start()
    peak = {"connections": 0, "rss": 0.0, "own": 0.0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1)
        now = figures(service, server)
        peak = {name: max(peak[name], now[name]) for name in peak}
    result = client.finish()
    if process:
        process.terminate()
        process.wait()
    after = figures(service, server)
    result.update(peak)
    result["threads"] = after["threads"]
    result["limits"] = {name: count - before.get(name, 0) for name, count in after["limits"].items()
                        if count > before.get(name, 0)}
    return result


def rest(service: Service, server: int, count: int, seconds: float) -> dict:
    """Connections that have had one answer and rest."""
    sockets = []
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(count):
        # Addresses of their own, so that ports never run out.
        own = (f"127.0.1.{len(sockets) % 250 + 1}", 0)
        connection = socket.create_connection(("127.0.0.1", service.port), source_address=own)
        connection.sendall(request)
        sockets.append(connection)
    for connection in sockets:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    result = measure(service, server, seconds, None)
    alive = sum(is_open(connection) for connection in sockets)
    for connection in sockets:
        connection.close()
    result["alive"] = alive
    return result


def is_open(connection: socket.socket) -> bool:
    """Whether the server has not ended it."""
    try:
        return connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def server_of(service: Service) -> int:
    """The process that serves, which the one that was started watches over."""
    return next(pid for pid in service.children() if "--supervised" in Path(f"/proc/{pid}/cmdline").read_text())


def artifact(service: Service) -> str:
    """A file of some MiB, for those who read slowly."""
    body = random.Random(1).randbytes(32 << 20)
    # float16 without infinities: clear the highest bit of each exponent.
    body = bytes(byte & 0xBF if index % 2 else byte for index, byte in enumerate(body))
    made = ask(service.port, "POST", "/v1/quantize?method=int8&dtype=float16&shape=4096,4096", body)
    assert made.status == 201, made
    return made.json["id"]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("viva")
    options.add_argument("--connections", type=int, default=2000)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--idle", type=int, default=10_000)
    options.add_argument("--write", type=Path)
    chosen = options.parse_args()
    if not shutil.which("slowhttptest"):
        sys.exit("slow: slowhttptest is missing: apt-get install slowhttptest")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        service = Service(chosen.viva, Path(folder) / "data", options=["--log-sample", "0"])
        service.start()
        try:
            rows, failures = attack_all(service, chosen)
        finally:
            service.stop()
    print("\n".join(rows))
    for failure in failures:
        print(f"slow: {failure}", file=sys.stderr)
    if chosen.write:
        write(chosen.write, rows)
    return 1 if failures else 0


def attack_all(service: Service, chosen) -> tuple[list[str], list[str]]:
    server = server_of(service)
    root = f"http://127.0.0.1:{service.port}"
    content = f"{root}/v1/artifacts/{artifact(service)}/content"
    # Connections at once, how many a second, for how long; a probe of its own each 3 s.
    common = ["slowhttptest", "-c", str(chosen.connections), "-r", "1000", "-l", str(int(chosen.seconds + 10)), "-p", "3"]
    attacks = {
        "slow heads (`-H`)": ["-H", "-i", "10", "-u", f"{root}/livez"],
        "slow bodies (`-B`)": ["-B", "-i", "10", "-s", "8192", "-t", "POST", "-u", f"{root}{SMALL}"],
        "overlapping ranges (`-R`)": ["-R", "-a", "5", "-b", "3000", "-t", "GET", "-u", content],
        "slow readers (`-X`)": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3", "-u", content],
    }
    measure(service, server, 3, None)
    base = measure(service, server, chosen.seconds, None)
    results = {"nobody else": base}
    for name, arguments in attacks.items():
        results[name] = measure(service, server, chosen.seconds, common + arguments)
        # What an attack leaves behind ends with its limits; the next one begins on a fresh server's terms.
        deadline = time.monotonic() + 60
        while figures(service, server)["connections"] > 20 and time.monotonic() < deadline:
            time.sleep(0.5)
    idle = None
    if chosen.idle:
        # A server that nothing was asked of before, as its memory is to be told.
        service.stop()
        service.start()
        server = server_of(service)
        idle = rest(service, server, chosen.idle, chosen.seconds)
        results[f"{chosen.idle:,} resting"] = idle
    failures = []
    rows = ["| beside | open, at most | p50 ms | p99 ms | of alone | worst ms | errors | RSS MiB | of it its own | limits reached |",
            "|---|---|---|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        ratio = result["p99"] / base["p99"]
        reached = ", ".join(f"{limit} {count:,}" for limit, count in sorted(result["limits"].items()))
        rows.append(f"| {name} | {result['connections']:,} | {result['p50']:.2f} | {result['p99']:.2f} | {ratio:.1f}x "
                    f"| {result['worst']:.1f} | {len(result['errors'])} | {result['rss']:.0f} | {result['own']:.0f} | {reached or '-'} |")
        if result["errors"]:
            failures.append(f"{name}: {result['errors'][:3]}")
        if ratio > 2:
            failures.append(f"{name}: p99 is {ratio:.1f} times what it is alone")
    if idle and idle["alive"] != chosen.idle:
        failures.append(f"{chosen.idle - idle['alive']} resting connections were ended")
    rows += ["", f"`make slow-test`, {chosen.connections:,} connections a mode, {chosen.seconds:g} s each, "
             f"{base['requests']:,} requests of the other client a row, {os.cpu_count()} cores "
             f"({cpu()}), which the attackers share. What of RSS is not its own are pages of the executable and its libraries."]
    return rows, failures


def cpu() -> str:
    match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return match[1].strip() if match else platform.processor()


def write(page: Path, rows: list[str]) -> None:
    text = page.read_text()
    block = "<!-- slow-test:begin -->\n" + "\n".join(rows) + "\n<!-- slow-test:end -->"
    page.write_text(re.sub(r"<!-- slow-test:begin -->.*?<!-- slow-test:end -->", lambda _: block, text, flags=re.S))


if __name__ == "__main__":
    sys.exit(main())
