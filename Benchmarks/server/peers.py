"""The three servers of the comparison: started, asked what they cost, and stopped."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
NGINX = """
daemon off; worker_processes 2; worker_rlimit_nofile 65536;
pid {work}/nginx.pid; error_log {work}/nginx.log error;
events {{ worker_connections 16384; }}
http {{
    access_log {work}/access.log combined buffer=64k;
    sendfile on; tcp_nopush on; keepalive_requests 100000000; client_max_body_size 0;
    client_body_temp_path {work}/bodies; root {work}/files;
    ssl_certificate {work}/cert.pem; ssl_certificate_key {work}/key.pem; ssl_protocols TLSv1.3;
    server {{ listen 127.0.0.1:{default}; {places} }}
    server {{ listen 127.0.0.1:{tuned}; client_body_buffer_size 1m; {places} }}
    server {{ listen 127.0.0.1:{tls} ssl; client_body_buffer_size 1m; {places} }}
}}
"""
PLACES = """
    location = /healthz { default_type application/json; return 200 '{"status":"ok"}'; }
    location / { dav_methods PUT DELETE; }
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit(f"bench-server: nobody listens on port {port}")


def certificate(work: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-keyout", work / "key.pem", "-out", work / "cert.pem"],
        check=True, capture_output=True)


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Peer:
    """A server that runs; `small` is what it answers from memory, the ports are those of its kinds of listener."""

    small = "/healthz"

    def __init__(self, command: list, log: Path, **ports: int):
        self.ports = ports
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        for port in ports.values():
            wait_for(port)

    def pids(self) -> list[int]:
        """The process that was started and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def seconds(self) -> float:
        """CPU time so far."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split() for pid in self.pids()]
        return sum(int(of[11]) + int(of[12]) for of in fields) / TICK

    def resident(self) -> float:
        """Resident MiB of all its processes; pages of files, which they share, are counted once."""
        memory = []
        for pid in self.pids():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            fields = dict(line.split(":", 1) for line in lines)
            memory.append({name: int(fields[name].split()[0]) for name in ("RssAnon", "RssFile", "RssShmem")})
        own = sum(each["RssAnon"] for each in memory)
        return (own + max(each["RssFile"] + each["RssShmem"] for each in memory)) / 1024

    def upload_request(self, number: int) -> tuple[str, str]:
        return "PUT", f"/upload-{number}"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Viva(Peer):
    """The service. Its plain upload is an input: hashed, looked at and fsynced before the answer."""

    small = "/livez"

    def __init__(self, executable: str, work: Path, tls: bool = False):
        name = "viva-tls" if tls else "viva"
        port = free_port()
        command = [executable, "serve", "--listen", f"127.0.0.1:{port}", "--data", work / name]
        if tls:
            command += ["--tls-cert", work / "cert.pem", "--tls-key", work / "key.pem"]
        super().__init__(command, work / f"{name}.log", **{"tls" if tls else "plain": port})

    def upload_request(self, number: int) -> tuple[str, str]:
        return "POST", "/v1/inputs?"


def nginx(work: Path) -> Peer:
    (work / "files").mkdir()
    ports = {"default": free_port(), "plain": free_port(), "tls": free_port()}
    text = NGINX.format(work=work, places=PLACES, default=ports["default"], tuned=ports["plain"], tls=ports["tls"])
    (work / "nginx.conf").write_text(text)
    # Workers of a master that root starts run as another user.
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    return Peer([binary, "-c", work / "nginx.conf", *user], work / "nginx.out", **ports)


def hummingbird(executable: str, work: Path) -> Peer:
    folder = work / "hummingbird"
    folder.mkdir()
    port = free_port()
    return Peer([executable, str(port), folder], work / "hummingbird.log", plain=port)
