"""The raw requests of Tests/Fixtures/http, without their expectations; README.md there tells their language."""

import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent.parent / "Tests/Fixtures/http"
ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def raw_requests(most: int | None = None) -> Iterator[bytes]:
    """The bytes of each case; what is repeated comes at most `most` times, and `{{a name}}` is `x`."""
    def repeat(match: re.Match) -> bytes:
        text, star, count = match[1].rpartition(b"*")
        if not star or not count.isdigit():
            return b"x"
        return text * min(int(count), int(count) if most is None else most)

    def unescape(text: bytes) -> bytes:
        text = re.sub(rb"\{\{(.*?)\}\}", repeat, text)
        return re.sub(
            rb"\\(x[0-9a-f]{2}|.)", lambda m: bytes([int(m[1][1:], 16)]) if m[1][:1] == b"x" else ESCAPES[m[1]], text)

    for file in sorted(FOLDER.glob("*.txt")):
        for case in re.split(rb"^case ", file.read_bytes(), flags=re.M)[1:]:
            lines = (unescape(line[2:]) + (b"\r\n" if line[:1] == b"|" else b"")
                     for line in case.split(b"\n") if line[:1] in (b"|", b">"))
            yield b"".join(lines)
