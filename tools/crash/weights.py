"""Deterministic weights as safetensors files, and what the service must make of them."""

import array
import hashlib
import json
import random
import struct

# Each gives an artifact of its own from the same weights.
RECIPES = [
    "method=nf4",
    "method=nf4&block_size=128",
    "method=nf4&double_quant=false",
    "method=nf4&mode=reference",
    "method=int8",
    "method=int4",
    "method=int4&format=mlx",
    "method=fp8",
]


def safetensors(seed: int) -> bytes:
    """Some layers of different sizes, float32, from a generator of that seed; 0.1 to 1.5 MiB."""
    generator = random.Random(seed)
    header, parts, offset = {}, [], 0
    for layer in range(generator.randint(1, 4)):
        rows, columns = generator.choice([64, 128, 192]), generator.choice([256, 512, 640])
        # Bits of the generator as 16-bit integers: quick to make, and any weights will do.
        raw = array.array("h", generator.randbytes(rows * columns * 2))
        values = array.array("f", (value / 65536 for value in raw)).tobytes()
        header[f"layers.{layer}.proj.weight"] = {
            "dtype": "F32", "shape": [rows, columns], "data_offsets": [offset, offset + len(values)]}
        parts.append(values)
        offset += len(values)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


class Weights:
    """One input: its bytes, its name, and by recipe the artifact that an undisturbed service made of it."""

    def __init__(self, seed: int):
        self.bytes = safetensors(seed)
        self.hex = hashlib.sha256(self.bytes).hexdigest()
        self.artifacts: dict[str, tuple[str, str]] = {}  # recipe -> (id, digest)

    @property
    def name(self) -> str:
        return f"sha256:{self.hex}"
