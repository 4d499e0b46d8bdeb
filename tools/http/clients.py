#!/usr/bin/env python3
"""Asks a running service the same things through http.client and through curl, and compares what each got.

    clients.py http://127.0.0.1:8080

Both are strict readers that nobody here wrote: a wrong length, a stray byte or a connection that closes at the wrong
moment breaks one of them. Prints a line for each check that fails; ends with status 1 if there is one.
"""
import base64
import contextlib
import email
import gzip
import hashlib
import http.client
import io
import json
import os
import select
import struct
import subprocess
import sys
import tempfile
import urllib.parse

ADDRESS = urllib.parse.urlsplit(sys.argv[1]).netloc
BASE = f"http://{ADDRESS}"
# What may differ between two answers to the same request.
FLEETING = {"date", "x-request-id", "server-timing", "connection"}
failures = []
checks = 0


def check(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        failures.append(f"{what}: {str(found)[:300]} instead of {str(expected)[:300]}")


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.body = status, body
        self.fields = {name.lower(): value for name, value in fields}

    def lasting(self):
        return {name: value for name, value in self.fields.items() if name not in FLEETING}


@contextlib.contextmanager
def connection(version=11):
    link = http.client.HTTPConnection(ADDRESS, timeout=30)
    link._http_vsn, link._http_vsn_str = version, f"HTTP/{version // 10}.{version % 10}"
    try:
        yield link
    finally:
        link.close()


def python(method, path, body=None, fields={}, link=None, chunked=False):
    if link is None:
        with connection() as link:
            return python(method, path, body, fields, link, chunked)
    link.request(method, path, body, fields, encode_chunked=chunked)
    response = link.getresponse()
    return Answer(response.status, response.getheaders(), response.read())


def curl(method, path, body=None, fields={}, more=[]):
    with tempfile.TemporaryDirectory() as folder:
        head, out, upload = (os.path.join(folder, name) for name in ("head", "out", "upload"))
        command = ["curl", "-sS", "--max-time", "30", "-D", head, "-o", out, *more]
        command += ["-I"] if method == "HEAD" else ["-X", method]
        for name, value in fields.items():
            command += ["-H", f"{name}: {value}"]
        if body is not None:
            with open(upload, "wb") as file:
                file.write(body)
            command += ["--data-binary", f"@{upload}"]
        run = subprocess.run(command + [BASE + path], capture_output=True, text=True)
        check(f"curl {method} {path}", run.stderr, "")
        with open(head, "rb") as file:
            # The last head: those before it say 100.
            text = file.read().decode("latin-1").strip().split("\r\n\r\n")[-1]
        lines = text.split("\r\n")
        content = b""
        if os.path.exists(out) and method != "HEAD":
            with open(out, "rb") as file:
                content = file.read()
        return Answer(int(lines[0].split()[1]), [line.split(": ", 1) for line in lines[1:]], content)


def both(what, method, path, status, body=None, fields={}, more=[]):
    """The same request through both clients: the same answer, with the status that is due."""
    fields = {"Accept-Encoding": "identity", **fields}
    one, other = python(method, path, body, fields), curl(method, path, body, fields, more)
    check(f"{what}, http.client", one.status, status)
    check(f"{what}, curl", other.status, status)
    check(f"{what}, fields", one.lasting(), other.lasting())
    if not one.fields.get("content-type", "").startswith(("multipart/", "application/problem")):
        check(f"{what}, body", one.body, other.body)
    return one


def input_digest(answer):
    return json.loads(answer.body).get("id") if answer.status in (200, 201) else answer.body


def reuse():
    with connection() as link:
        for turn in range(20):
            check("http.client, one after the other", python("GET", "/livez", link=link).status, 200)
            socket = link.sock if turn == 0 else socket
            check("http.client keeps its connection", link.sock is socket and socket is not None, True)
    five = [word for _ in range(5) for word in ("-o", "/dev/null", f"{BASE}/livez")]
    run = subprocess.run(["curl", "-s", "-w", "%{num_connects} ", *five], capture_output=True, text=True)
    check("curl keeps its connection", run.stdout, "1 0 0 0 0 ")
    with connection(version=10) as link:
        answer = python("GET", "/livez", link=link)
        check("HTTP/1.0 closes", (answer.status, answer.fields.get("connection"), link.sock), (200, "close", None))


def methods():
    for path in ("/", "/livez", "/openapi.yaml", "/v1/methods", "/nothing"):
        whole = both(f"GET {path}", "GET", path, 404 if path == "/nothing" else 200)
        head = both(f"HEAD {path}", "HEAD", path, whole.status)
        check(f"HEAD {path} has no body", head.body, b"")
        check(f"HEAD {path} says what GET does", head.fields["content-length"], str(len(whole.body)))
    check("405 names the methods", both("DELETE", "DELETE", "/livez", 405).fields.get("allow"), "GET, HEAD, OPTIONS")
    both("an unknown method", "BREW", "/livez", 501)
    check("OPTIONS *", python("OPTIONS", "*").status, curl("OPTIONS", "/", more=["--request-target", "*"]).status)


def uploads():
    values = os.urandom(1 << 20)
    path, due = f"/v1/inputs?dtype=float16&shape={len(values) // 2}", "sha256:" + hashlib.sha256(values).hexdigest()
    pieces = [values[start:start + 70_001] for start in range(0, len(values), 70_001)]
    check("a length, http.client", input_digest(python("POST", path, values)), due)
    chunked = python("POST", path, iter(pieces), {"Transfer-Encoding": "chunked"}, chunked=True)
    check("chunks, http.client", input_digest(chunked), due)
    check("a length, curl", input_digest(curl("POST", path, values, {"Expect": ""})), due)
    check("chunks, curl", input_digest(curl("POST", path, values, {"Transfer-Encoding": "chunked"})), due)
    check("100-continue, curl", input_digest(curl("POST", path, values, {"Expect": "100-continue"})), due)
    packed = gzip.compress(values, 1)
    check("gzip, http.client", input_digest(python("POST", path, packed, {"Content-Encoding": "gzip"})), due)
    check("gzip, curl", input_digest(curl("POST", path, packed, {"Content-Encoding": "gzip"})), due)
    digest = "sha-256=:" + base64.b64encode(hashlib.sha256(values).digest()).decode() + ":"
    check("the right digest", input_digest(python("POST", path, values, {"Content-Digest": digest})), due)
    check("a wrong digest", python("POST", path, values[:-2] + b"ab", {"Content-Digest": digest}).status, 400)
    with connection() as link:
        link.putrequest("POST", path)
        link.putheader("Content-Length", str(len(values)))
        link.putheader("Expect", "100-continue")
        link.endheaders()
        check("100 comes before the body", bool(select.select([link.sock], [], [], 20)[0]), True)
        link.send(values)
        response = link.getresponse()
        check("100-continue, http.client", input_digest(Answer(response.status, [], response.read())), due)
        check("the connection goes on", python("GET", "/livez", link=link).status, 200)


def refusals():
    large = bytes(32 << 20)
    for path, status in (("/v1/jobs", 413), ("/nothing", 404), ("/livez", 405)):
        both(f"32 MiB to {path}", "POST", path, status, large, more=["-H", "Expect:"])
        waits = curl("POST", path, large, {"Expect": "100-continue"}, ["--expect100-timeout", "20"])
        check(f"refused before the body, {path}", waits.status, status)


def files():
    made = python("POST", "/v1/quantize?method=int8&dtype=float32&shape=8,64", struct.pack("<512f", *range(512)))
    check("an artifact is made", made.status, 201)
    path = made.fields.get("location", "/nothing") + "/content"
    whole = both("a download", "GET", path, 200)
    size, etag, date = len(whole.body), whole.fields["etag"], whole.fields["last-modified"]
    check("its digest", whole.fields["etag"], f'"sha256-{hashlib.sha256(whole.body).hexdigest()}"')
    check("HEAD of it", both("HEAD", "HEAD", path, 200).fields["content-length"], str(size))
    for text, start, end in (("0-9", 0, 10), ("-7", size - 7, size), ("100-", 100, size), (f"5-{size * 9}", 5, size)):
        part = both(f"bytes={text}", "GET", path, 206, fields={"Range": f"bytes={text}"})
        check(f"bytes={text}", part.body, whole.body[start:end])
        check(f"bytes={text}, curl -r", curl("GET", path, more=["-r", text]).body, whole.body[start:end])
    parts = python("GET", path, fields={"Range": "bytes=0-3,50-59,-4"})
    message = email.message_from_bytes(
        b"Content-Type: " + parts.fields["content-type"].encode() + b"\r\n\r\n" + parts.body)
    check("several ranges", [part.get_payload(decode=True) for part in message.get_payload()],
          [whole.body[0:4], whole.body[50:60], whole.body[-4:]])
    both("behind the end", "GET", path, 416, fields={"Range": f"bytes={size}-"})
    both("the same tag", "GET", path, 304, fields={"If-None-Match": etag})
    both("another tag", "GET", path, 412, fields={"If-Match": '"other"'})
    both("the same date", "GET", path, 304, fields={"If-Modified-Since": date})
    both("an early date", "GET", path, 412, fields={"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"})
    both("If-Range of this date", "GET", path, 206, fields={"Range": "bytes=0-3", "If-Range": date})
    both("If-Range of another", "GET", path, 200, fields={"Range": "bytes=0-3", "If-Range": '"other"'})


def codings():
    plain = both("the contract", "GET", "/openapi.yaml", 200).body
    coded = both("the contract, coded", "GET", "/openapi.yaml", 200, fields={"Accept-Encoding": "gzip"})
    check("gzip is said", (coded.fields.get("content-encoding"), coded.fields.get("vary")), ("gzip", "Accept-Encoding"))
    check("gzip, http.client", gzip.GzipFile(fileobj=io.BytesIO(coded.body)).read(), plain)
    check("gzip, curl", curl("GET", "/openapi.yaml", more=["--compressed"]).body, plain)


for part in (reuse, methods, uploads, refusals, files, codings):
    part()
print(f"{checks} checks, {len(failures)} failures")
print("\n".join(failures))
sys.exit(1 if failures else 0)
