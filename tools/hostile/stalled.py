"""Clients that begin an upload and stall, and come back as soon as they are refused, beside one that uploads.

    tools/hostile/stalled.py VIVA [--clients N] [--bytes N] [--seconds S] [--same-address]

Each sends enough of a body to get a thread and no more. The honest client comes from another address, unless
`--same-address`, and stores one MiB after the other; what counts is how long it is kept waiting, its 503s and the pauses
behind them included. Only the standard library is used.
"""

import argparse
import http.client
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "crash"))
from service import Service  # noqa: E402

HEAD = b"PUT /v1/inputs?dtype=float32&shape=2500000 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n"


def stall(port: int, count: int, end: float, answers: Counter) -> None:
    """One client that never sends the rest."""
    while (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=left) as connection:
                connection.sendall(HEAD + bytes(count))
                answers[connection.recv(4096)[9:12].decode()] += 1
        except OSError:
            answers["broken"] += 1
        time.sleep(0.05)


def store(port: int, address: str) -> int:
    """Uploads one MiB until it is stored; answers how often it was refused."""
    body, refusals = os.urandom(1 << 20), 0
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(address, 0))
        try:
            connection.request("PUT", "/v1/inputs?dtype=float32&shape=262144", body)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 201:
                return refusals
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        refusals += 1
        time.sleep(0.25)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("viva")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=64 << 10)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--same-address", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        options = ["--listen", "0.0.0.0:0", "--auth", "none", "--log-sample", "0"]
        service = Service(chosen.viva, data, options=options)
        service.start()
        port = int((data.parent / f"{data.name}.port").read_text().split()[1])
        end, answers = time.monotonic() + chosen.seconds, Counter()
        crowd = [
            threading.Thread(target=stall, args=(port, chosen.bytes, end, answers)) for _ in range(chosen.clients)
        ]
        for client in crowd:
            client.start()
        time.sleep(1)
        waits, refusals = [], 0
        while time.monotonic() < end - 1:
            began = time.monotonic()
            refusals += store(port, "127.0.0.1" if chosen.same_address else "127.0.0.2")
            waits.append(time.monotonic() - began)
        for client in crowd:
            client.join()
        service.stop()
    print(
        f"{len(waits)} uploads, median {statistics.median(waits) * 1000:.0f} ms, worst {max(waits) * 1000:.0f} ms, "
        f"refused {refusals} times; the crowd was answered {dict(answers)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
