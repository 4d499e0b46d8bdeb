"""How long a client waits when the server's process dies: from the signal to the answer of a request on a new
connection. Run by scripts/with-server.sh, which names the service in VIVA_URL and the process in VIVA_PID.

    scripts/with-server.sh python3 Benchmarks/restart.py
"""

import os
import signal
import statistics
import time
import urllib.request
from pathlib import Path

ROUNDS = 20


def status(pid: int) -> str:
    """The letter of /proc/PID/stat; Z when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def child_of(parent: int) -> int:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(words[1]) == parent and words[0] != "Z":
            return int(stat.parent.name)
    raise SystemExit("the supervisor has no server")


def measure(number: signal.Signals, parent: int) -> tuple[float, float]:
    """Milliseconds until the process is dead, and until the first answer after it."""
    server = child_of(parent)
    begin = time.monotonic()
    os.kill(server, number)
    while status(server) != "Z":
        time.sleep(0.0002)
    dead = time.monotonic()
    with urllib.request.urlopen(os.environ["VIVA_URL"] + "/livez", timeout=60) as answer:
        answer.read()
    return (dead - begin) * 1000, (time.monotonic() - dead) * 1000


def main() -> None:
    server = int(os.environ["VIVA_PID"])
    parent = int(Path(f"/proc/{server}/stat").read_text().rsplit(")", 1)[1].split()[1])
    for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGILL):
        figures = [measure(number, parent) for _ in range(ROUNDS)]
        dead, answered = ([figure[index] for figure in figures] for index in (0, 1))
        print(
            f"{number.name}: dead after {statistics.median(dead):.0f} ms, then answered after "
            f"{statistics.median(answered):.0f} ms (at most {max(answered):.0f}), medians of {ROUNDS}"
        )


if __name__ == "__main__":
    main()
