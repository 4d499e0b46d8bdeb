#!/usr/bin/env python3
"""15 Linears of all-MiniLM-L6-v2 with what reaches them when it reads English: weights, calibration, held-out tokens.

    layers.py        makes the files below .awq-data once, in a minute

Layers 0, 3 and 5: query, value, attention output, and both Linears of the MLP. 5,120 tokens calibrate, 3,072 others are
for judging; both are windows of 256 tokens of the same two sources, paragraph by paragraph in turn: the licences of
Debian and the Python language reference, first halves and second halves. A paragraph that occurs twice is read once.
`capture_activations.py` makes every file, as a user would.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

import corpus

CAPTURE = corpus.ROOT / "tools" / "capture_activations.py"
PARTS = (
    "attention.self.query",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
MODULES = [f"encoder.layer.{layer}.{part}" for layer in (0, 3, 5) for part in PARTS]
CALIBRATION_TOKENS, TEST_TOKENS, CONTEXT = 5120, 3072, 256


def paragraphs(text: str) -> list:
    """Paragraphs of words, in order, each once."""
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text))
    return list(dict.fromkeys(block for block in blocks if len(block) > 80))


def texts() -> tuple:
    """What is calibrated on and what is judged on."""
    sources = [paragraphs(corpus.licences()), paragraphs(corpus.language_reference())]
    halves = [(source[: len(source) // 2], source[len(source) // 2 :]) for source in sources]
    known = {block for first, _ in halves for block in first}
    made = []
    for half in (0, 1):
        pairs = zip(*(parts[half] for parts in halves))
        made.append("\n\n".join(block for pair in pairs for block in pair if half == 0 or block not in known))
    return tuple(made)


def capture(text: Path, tokens: int, form: str, out: Path) -> Path:
    # A name of its own for every content of the text: another Debian has other licences.
    out = out.with_stem(f"{out.stem}-{hashlib.sha256(text.read_bytes()).hexdigest()[:12]}")
    if not out.exists():
        settings = ["--form", form, "--tokens", str(tokens), "--context", str(CONTEXT)]
        partial = out.with_suffix(".partial")
        subprocess.run([sys.executable, CAPTURE, corpus.minilm(), text, "-o", partial, *settings], check=True)
        partial.rename(out)
    return out


def files() -> dict:
    """Form of calibration data -> file; `test`: activations that are judged on."""
    folder = corpus.DATA / "layers"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(("calibration", "test"), texts()):
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    made = {
        form: capture(folder / "calibration.txt", CALIBRATION_TOKENS, form, folder / f"{form}.safetensors")
        for form in ("channels", "blocks", "gram", "activations")
    }
    made["test"] = capture(folder / "test.txt", TEST_TOKENS, "activations", folder / "test.safetensors")
    return made


def weights() -> dict:
    """Module -> float32 [outputs, inputs]."""
    with safe_open(corpus.minilm() / "model.safetensors", "pt") as file:
        return {module: file.get_tensor(f"{module}.weight").float() for module in MODULES}


def inputs(path: Path) -> dict:
    """Module -> activations, float32 [tokens, inputs]."""
    tensors = load_file(path)
    return {module: tensors[f"{module}.activations"].float() for module in MODULES}


def main() -> int:
    for form, path in files().items():
        print(f"{form}: {path}, {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
