#!/usr/bin/env python3
"""Writes the seeds of every fuzz target from what the tests have: seeds.py FOLDER.

The raw requests of Tests/Fixtures/http (their language is told there), containers, archives and headers that the
libraries wrote, and the few texts below.
"""
import pathlib
import struct
import sys
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "Tests/Fixtures"
OUT = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(ROOT / "tools/http"))
from raw_requests import raw_requests  # noqa: E402

# What the first byte asks of `fields`, and texts for it.
FIELDS = [
    (0, "bytes=0-9"), (0, "bytes=0-0,5-6,-2"), (1, "bytes=5-"), (0, "bytes= 0-999, 4500-5499, -1000"),
    (0, "bytes=50-59,10-19,55-70"), (1, "bytes=99999999999999999999-"), (0, "bytes=-0"), (0, "pages=1-2"), (9, "bytes=-5"), (9, "bytes=0-"),
    (0, "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 40, 2))),
    (2, '"sha256-00"\n*'), (2, '*\nW/"sha256-00", "a,b"'), (2, '"x" ,"y"\n"sha256-00'),
    (3, "Sun, 06 Nov 1994 08:49:37 GMT\nSun Nov  6 08:49:37 1994"), (3, '"sha256-00"'),
    (4, "Sun, 06 Nov 1994 08:49:37 GMT"), (4, "Sunday, 06-Nov-94 08:49:37 GMT"), (4, "Sun Nov  6 08:49:37 1994"),
    (4, "Thursday, 01-Jan-70 00:00:00 GMT"), (4, "Fri, 31 Dec 9999 23:59:59 GMT"),
    (5, "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"), (5, "md5=:AAAA:, unixsum=:AA==:"),
    (5, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    (5, "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what"),
    (6, "text/html, application/json;q=0.9, */*;q=0.1"), (6, 'text/html;charset="utf-8";q=0.5;x=y'),
    (6, "gzip;q=0.5, identity;q=0, *;q=0.1"), (6, "x-gzip, br;q=1.000"), (6, 'a/b;x="\\",";q=1'),
    (7, "a=b+c&d=%2B&e=f=g&&h&=i&%26=%3d"), (7, "a=%e2%82%ac&b=%ff"), (7, "a[0]={x}|y"),
]

JSON = [
    '{"a": [1, -0.5e+3, true, null, "\\u00e9\\ud83d\\ude00\\n"], "b": {"c": {}}}', " [NaN, Infinity, -Infinity]",
    '"\\"\\\\\\/\\b\\f\\n\\r\\t"', "[[[[[[[[[]]]]]]]]]", '{"a": 1, "a": 2}', "1.0E-12", "{}", ' {"a": NaN}',
]

OPTIONS = [
    '"nf4"', '"nf4", "options": {"block_size": "64", "double_quant": true, "mode": "best", "include": ["*.weight"]}',
    '"int8", "options": {"exclude": ["lm_head", "*.norm"], "min_sqnr_db": 20.5}, "name": "x"',
    '"int4", "options": {"format": "awq", "group_size": 128, "clip": true, "duo_scaling": false, "scaling": "search"},'
    ' "calibration": "sha256:%064d", "dtype": "float32", "shape": [4096, 4096]' % 1,
    '"int8", "options": {"format": "compressed-tensors", "scheme": "w8a16", "group_size": 32}',
    '"fp8", "options": {"format": "compressed-tensors", "max_rel_error": 0.5}, "shape": "2,2", "dtype": "bfloat16"',
    '"int4", "options": {"format": "mlx", "group_size": 32, "mode": "reference", "rounding": "nearest"}',
    '"int4", "options": {"format": "awq,mlx"}', '"nf4", "options": {"budget_bits_per_weight": "4.5"}',
    '"nf4", "options": {"model_type": "llama", "tied": true, "calibration": "none"}',
    '"nf4", "options": {"budget": 1}', '"int4", "options": {"calibration": "none"}, "calibration": "sha256:x"',
    '"nf4", "options": {"budget_bytes": 1}', '"", "name": ""',  '"nf4", "options": {"mode": "exact"}',
    '"nf4", "options": {"overrides": "[{\\"match\\": \\"a\\", \\"include\\": 1}]"}',
    '"int8", "options": {"mode": "best"}', '"int8", "options": {"format": "compressed-tensors", "calibration": "data"}',
    '"awq", "options": {"symmetric": true, "bits": 8}', '"nf4", "options": {"include": "%s"}' % ("a," * 300),
    '"nf4", "options": {"overrides": "[{\\"match\\": \\"*.down.weight\\", \\"method\\": \\"none\\"},'
    ' {\\"match\\": \\"a?[bc]\\", \\"block_size\\": 128}]"}',
    '"nf4", "options": {"overrides": [{"match": "*.down.weight", "method": "int8"}, {"match": "b", "method": "none"}]}',
    '"nf4", "options": {"exclude": [%s]}' % ", ".join(['"a"'] * 300),
    '"nf4", "options": {"overrides": [%s]}' % ", ".join(['{"match": "a"}'] * 300),
]
JOBS = ['{"input": "sha256:%064d", "method": %s}' % (0, text) for text in OPTIONS]


def gguf(version=3, alignment=32, tensors=1):
    """A header with a value of every kind, an array of texts and one of numbers, and tensors with their data."""
    def text(value):
        return struct.pack("<Q", len(value)) + value

    kinds = {0: b"\1", 1: b"\1", 2: b"\1\0", 3: b"\1\0", 4: b"\1" * 4, 5: b"\1" * 4, 6: b"\0\0\x80\x3f",
             7: b"\1", 8: text(b"x"), 10: b"\1" * 8, 11: b"\1" * 8, 12: b"\0" * 8}
    items = [(b"k%d" % kind, kind, value) for kind, value in kinds.items()]
    items += [(b"general.alignment", 4, struct.pack("<I", alignment)),
              (b"texts", 9, struct.pack("<IQ", 8, 2) + text(b"a") + text(b"b")),
              (b"numbers", 9, struct.pack("<IQ", 4, 2) + b"\1" * 8), (b"nested", 9, struct.pack("<IQ", 9, 0))]
    items = items[:-1] if tensors else items
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, len(items))
    for name, kind, value in items:
        head += text(name) + struct.pack("<I", kind) + value
    for number in range(tensors):
        head += text(b"t%d" % number) + struct.pack("<IQQIQ", 2, 4, 2, 0, number * alignment)
    return head + bytes(-len(head) % alignment) + bytes(tensors * alignment)


def archive(names=("a.npy", "b.npy"), size=8, rest=b"", wide=None):
    """Stored members of `size` bytes, `rest` behind the directory; `wide` members in an end record of zip64."""
    members, directory = b"", b""
    for name in map(str.encode, names):
        content = bytes(size)
        fixed = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(content), size, size, len(name), 0)
        directory += b"PK\1\2" + struct.pack("<H", 20) + fixed + struct.pack("<HHHII", 0, 0, 0, 0, len(members)) + name
        members += b"PK\3\4" + fixed + name + content
    directory += rest
    count, end = len(names), b""
    if wide is not None:
        place = len(members) + len(directory)
        end = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, wide, wide, len(directory), len(members))
        end += b"PK\6\7" + struct.pack("<IQI", 0, place, 1)
    end += b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(members), 0)
    return members + directory + end


def write(target, number, content):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{number:03}").write_bytes(content)


def read(pattern, most=8192):
    return [file.read_bytes()[:most] for file in sorted(FIXTURES.glob(pattern))]


for number, sent in enumerate(raw_requests(most=40)):
    write("head", number, sent)
    head, _, body = sent.partition(b"\r\n\r\n")
    if b"chunked" in head and body:
        write("chunks", number, body)
for number, (choice, text) in enumerate(FIELDS):
    write("fields", number, bytes([choice]) + text.encode())
for number, file in enumerate(read("containers/*.safetensors")):
    write("safetensors", number, b"\x01" + file)
    write("safetensors", number + 500, b"\x00" + file[8:])
for number, name in enumerate((r"\ud83d\ude00", r"\ud83d\u0041", r"\ude00", r"\"\\\/\b\f\n\r\t\u00e9")):
    header = '{"%s":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' % name
    write("safetensors", number + 900, b"\x01" + struct.pack("<Q", len(header)) + header.encode() + bytes(4))
for number, file in enumerate(read("containers/*.npy")):
    write("npy", number, b"\x01" + file)
    write("npy", number + 500, b"\x00" + file[10:])
for number, file in enumerate(read("containers/*.npz", 1 << 20) + read("inputs/*.npz", 1 << 20)):
    write("zip", number, file)
archives = [
    archive(), archive(rest=b"rest"), archive(wide=2), archive(wide=3), archive(size=150), archive(size=201),
    archive(("longer.npy",)),
]
for number, file in enumerate(archives):
    write("zip", number + 500, file)
made = [gguf(), gguf(2, 64), gguf(3, 8, 0), gguf(3, 32, 3), gguf(3, 7)]
for number, file in enumerate(read("imatrix/*.gguf", 1 << 20) + made):
    write("gguf", number, b"\x01" + file)
    write("gguf", number + 500, b"\x00" + file[8:])
for number, text in enumerate(JSON + JOBS):
    write("json", number, text.encode())
for number, text in enumerate(JOBS):
    write("job", number, text.encode())
print(", ".join(f"{folder.name} {sum(1 for _ in folder.iterdir())}" for folder in sorted(OUT.iterdir())))
