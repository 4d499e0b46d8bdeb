"""The service under test: started, killed, asked, stopped. Only the standard library is used."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path


class Gone(Exception):
    """The service did not answer: nothing was acknowledged."""


class Answer:
    """A status, header fields by lower-case name, and the body."""

    def __init__(self, status: int, fields: dict, body: bytes):
        self.status, self.fields, self.body = status, fields, body

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:3000]!r}"


def ask(port: int, method: str, target: str, body: bytes | None = None, fields: dict | None = None) -> Answer:
    """One request on a connection of its own. Raises `Gone` unless the whole answer came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, target, body=body, headers=fields or {})
        response = connection.getresponse()
        content = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)
    except (OSError, http.client.HTTPException) as error:
        raise Gone(f"{method} {target}: {error}") from error
    finally:
        connection.close()


class Service:
    """`viva serve` over one data folder, started anew as often as wanted."""

    def __init__(self, viva: str, data: Path, prefix: list[str] | None = None, options: list[str] | None = None):
        self.viva, self.data = viva, data
        self.prefix, self.options = prefix or [], options or []
        self.process: subprocess.Popen | None = None
        self.port = 0
        self.log = tempfile.TemporaryFile()

    def start(self) -> float:
        """Starts and waits until it listens; answers the seconds this took."""
        began = time.monotonic()
        port_file = self.data.parent / f"{self.data.name}.port"
        port_file.unlink(missing_ok=True)
        command = [*self.prefix, self.viva, "serve", "--listen", "127.0.0.1:0", "--data", str(self.data)]
        command += ["--port-file", str(port_file), *self.options]
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log, start_new_session=True)
        while time.monotonic() < began + 60:
            if port_file.exists() and (text := port_file.read_text().strip()):
                self.port = int(text.split()[0])
                return time.monotonic() - began
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise RuntimeError(f"the service does not start:\n{self.last_words()}")

    def last_words(self) -> str:
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 4000))
        return self.log.read().decode(errors="replace")

    def kill(self) -> None:
        """kill -9 of the service and everything it started: supervisor, server, workers."""
        family = self.children()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # The lock of the folder is free when the server has ended, which may be a moment after its supervisor.
        deadline = time.monotonic() + 10
        while any(command_line(pid) for pid in family) and time.monotonic() < deadline:
            time.sleep(0.001)

    def children(self) -> list[int]:
        """The processes that the service started, theirs included."""
        found, frontier = [], [self.process.pid]
        while frontier:
            parent = frontier.pop()
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    fresh = [int(pid) for pid in task.read_text().split()]
                    found += fresh
                    frontier += fresh
        return found

    def workers(self) -> list[int]:
        """The processes that quantize for jobs."""
        return [pid for pid in self.children() if "worker" in command_line(pid)]

    def stop(self) -> None:
        """An orderly end; raises when it is none."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError("the service did not stop within 60 s of SIGTERM") from None
        if status != 0:
            raise RuntimeError(f"the service ended with {status}:\n{self.last_words()}")


def command_line(pid: int) -> list[str]:
    """The arguments of a process; none when it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []
