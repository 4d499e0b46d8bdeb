#!/usr/bin/env python3
"""Output error on tokens that nobody calibrated on: ours with each form of data, beside the libraries.

    table.py [--write docs/QUALITY.md] [--require]

The service is found in VIVA_URL. 15 Linears of all-MiniLM-L6-v2 (layers.py) go to it in one request a recipe, weights
and calibration data in one safetensors; what comes back is read by the statements of tools/conformance/layouts.py and
by bitsandbytes and compressed-tensors themselves. The error of a layer is ‖X(W − Ŵ)ᵀ‖² over X, 3,072 held-out tokens; the
table has the mean over the layers of its decibels. GPTQModel and AutoRound quantize the same weights with the same
calibration tokens (peers.py).

--write puts the table between the markers in a file; --require fails where a promise is not kept.
"""

import argparse
import json
import math
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

import torch
from safetensors.torch import load, load_file, save

import corpus
import layers
import peers

sys.path.insert(0, str(corpus.ROOT / "tools" / "conformance"))
import grouped  # noqa: E402
import layouts  # noqa: E402

OPEN, CLOSE = "<!-- quality-awq -->", "<!-- /quality-awq -->"
REFERENCE, FULL, FULL_KEPT, BLOCKS, NF4 = "awq-reference", "awq-gram", "awq-gram-keep", "awq-blocks-keep", "nf4-gram"
# What is promised over AutoAWQ's algorithm: recipe -> (mean, worst layer) in dB.
PROMISES = {FULL: (2.0, 0.0), FULL_KEPT: (2.0, 0.0), BLOCKS: (0.3, -math.inf), NF4: (2.8, 0.0)}

AWQ = "method=awq&calibration=data&group_size=128"
INT4 = "method=int4&format=awq&group_size=128&calibration=none"
TENSORS = "method=int4&format=compressed-tensors&group_size=128"
BYTES = "method=int8&format=compressed-tensors&group_size=128"
BLOCKWISE = "method=nf4&block_size=64&double_quant=true"
# Name -> (what the table says, form of the data or None, query).
RECIPES = {
    "rtn": ("AWQ, AutoAWQ's grid, round to nearest", None, f"{INT4}&mode=reference"),
    "awq-free": ("AWQ, best, no data", None, f"{INT4}&mode=best"),
    REFERENCE: ("AWQ, reference: AutoAWQ's scale and clip search", "activations", f"{AWQ}&mode=reference&scaling=keep"),
    "awq-channels": ("AWQ, best, no scales", "channels", f"{AWQ}&scaling=none"),
    "awq-channels-keep": ("AWQ, best", "channels", f"{AWQ}&scaling=keep"),
    "awq-blocks": ("AWQ, best, no scales", "blocks", f"{AWQ}&scaling=none"),
    BLOCKS: ("AWQ, best", "blocks", f"{AWQ}&scaling=keep"),
    FULL: ("AWQ, best, no scales", "gram", f"{AWQ}&scaling=none"),
    FULL_KEPT: ("AWQ, best", "gram", f"{AWQ}&scaling=keep"),
    "awq-activations": ("AWQ, best, no scales", "activations", f"{AWQ}&scaling=none"),
    "awq-activations-keep": ("AWQ, best", "activations", f"{AWQ}&scaling=keep"),
    "w4a16-reference": ("W4A16, compressed-tensors' grid", None, f"{TENSORS}&mode=reference&calibration=none"),
    "w4a16-free": ("W4A16, best, no data", None, f"{TENSORS}&calibration=none"),
    "w4a16-blocks": ("W4A16, best", "blocks", f"{TENSORS}&calibration=data"),
    "w4a16-gram": ("W4A16, best", "gram", f"{TENSORS}&calibration=data"),
    "w8a16-reference": ("W8A16, compressed-tensors' grid", None, f"{BYTES}&calibration=none"),
    "w8a16-gram": ("W8A16, best", "gram", f"{BYTES}&calibration=data"),
    "nf4-reference": ("NF4, bitsandbytes", None, f"{BLOCKWISE}&mode=reference&calibration=none"),
    "nf4-free": ("NF4, best, no data", None, f"{BLOCKWISE}&calibration=none"),
    "nf4-channels": ("NF4, best", "channels", f"{BLOCKWISE}&calibration=data"),
    "nf4-blocks": ("NF4, best", "blocks", f"{BLOCKWISE}&calibration=data"),
    NF4: ("NF4, best", "gram", f"{BLOCKWISE}&calibration=data"),
    "nf4-activations": ("NF4, best", "activations", f"{BLOCKWISE}&calibration=data"),
}
FORMS = {None: "", "channels": "channels", "blocks": "blocks of 128", "gram": "Gram", "activations": "activations"}


def ask(query: str, body: bytes) -> tuple:
    """The artifact's JSON and its tensors."""
    request = urllib.request.Request(f"{os.environ['VIVA_URL']}/v1/quantize?{query}", data=body, method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            artifact = json.loads(answer.read())
        with urllib.request.urlopen(f"{os.environ['VIVA_URL']}/v1/artifacts/{artifact['id']}/content") as answer:
            return artifact, load(answer.read())
    except urllib.error.HTTPError as refusal:
        raise layouts.Mismatch(f"{query}: {refusal.code} {refusal.read().decode()[:600]}") from None


def body(form, files: dict, weights: dict) -> bytes:
    tensors = {f"{module}.weight": weight for module, weight in weights.items()}
    if form:
        given = load_file(files[form])
        tensors |= {name: given[name] for name in given if name.rpartition(".")[0] in weights}
    return save(tensors, {"format": "pt"})


def restored(module: str, tensors: dict, config: dict) -> torch.Tensor:
    """The weight that the format's library multiplies with; kept scales are divided out of its columns."""
    prefix = module + "."
    layer = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    scales = layer.pop("input_scales", None)
    method = config["quant_method"]
    if method == "awq":
        rows, columns = layer["qweight"].shape[1] * 8, layer["qweight"].shape[0]
        weight = layouts.awq_dequantize(layer, torch.Size([rows, columns]), config["group_size"])
    elif method == "bitsandbytes":
        weight = layouts.nf4_dequantize(layer)
    else:
        weight = grouped.tensors_dequantize(layer, *grouped.scheme_of(config))
    weight = weight.detach().float()
    return weight if scales is None else weight / scales


class Judge:
    def __init__(self, weights: dict, test: dict):
        self.weights = weights
        self.grams = {module: x.double().T @ x.double() for module, x in test.items()}

    def lost(self, module: str, weight: torch.Tensor) -> float:
        """‖X(W − Ŵ)ᵀ‖² / ‖XWᵀ‖² over the held-out tokens."""
        original, gram = self.weights[module].double(), self.grams[module]
        away = weight.double() - original
        return float(((away @ gram) * away).sum() / ((original @ gram) * original).sum())

    def decibels(self, weights: dict) -> list:
        return [-10 * math.log10(self.lost(module, weights[module])) for module in layers.MODULES]


def measure() -> tuple:
    """Name -> (what, data, bits per weight, SQNR of the output of each layer)."""
    files, weights = layers.files(), layers.weights()
    judge, bodies, rows = Judge(weights, layers.inputs(files["test"])), {}, {}
    for name, (what, form, query) in RECIPES.items():
        bodies.setdefault(form, body(form, files, weights))
        artifact, tensors = ask(query, bodies[form])
        values = {module: restored(module, tensors, artifact["quantization_config"]) for module in layers.MODULES}
        rows[name] = (what, FORMS[form], artifact["bits_per_weight"], judge.decibels(values))
        print(f"{name}: {mean(rows[name][3]):.2f} dB", file=sys.stderr, flush=True)
    for name, (what, bits, values) in peers.decoded(files, weights).items():
        rows[name] = (what, FORMS["activations"], bits, judge.decibels(values))
        print(f"{name}: {mean(rows[name][3]):.2f} dB", file=sys.stderr, flush=True)
    return rows


def mean(values: list) -> float:
    return sum(values) / len(values)


def table(rows: dict) -> str:
    titles = ("method", "data", "bits", "output SQNR", "to nearest", "to AutoAWQ", "worst layer", "best layer")
    lines = ["| " + " | ".join(titles) + " |", "|---|---|" + "---:|" * (len(titles) - 2)]
    nearest, reference = rows["rtn"][3], rows[REFERENCE][3]
    for what, form, bits, figures in rows.values():
        gains = [figure - other for figure, other in zip(figures, reference)]
        over = mean([figure - other for figure, other in zip(figures, nearest)])
        cells = [f"{bits:.3f}", f"{mean(figures):.2f}", f"{over:+.2f}"]
        cells += [f"{mean(gains):+.2f}", f"{min(gains):+.2f}", f"{max(gains):+.2f}"]
        lines.append("| " + " | ".join([what, form, *cells]) + " |")
    return "\n".join(lines) + "\n"


def broken(rows: dict) -> list:
    """The promises that are not kept."""
    reference, found = rows[REFERENCE][3], []
    for name, (least, worst) in PROMISES.items():
        gains = [figure - other for figure, other in zip(rows[name][3], reference)]
        if mean(gains) < least or min(gains) < worst:
            found.append(f"{name}: mean {mean(gains):+.2f} dB, worst {min(gains):+.2f}; promised {least}, {worst}")
    for name in peers.PEERS:
        ahead = mean(rows[FULL_KEPT][3]) - mean(rows[name][3])
        if ahead < 0:
            found.append(f"{name} is better by {-ahead:.2f} dB")
    return found


def write(path: Path, tables: str, opening: str, closing: str) -> None:
    text = path.read_text(encoding="utf-8")
    if text.count(opening) != 1 or text.count(closing) != 1:
        raise SystemExit(f"{path} must hold {opening} and {closing} once each")
    before, rest = text.split(opening)
    _, after = rest.split(closing)
    path.write_text(f"{before}{opening}\n\n{tables}\n{closing}{after}", encoding="utf-8")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", type=Path, metavar="FILE")
    options.add_argument("--require", action="store_true")
    chosen = options.parse_args()
    rows = measure()
    if chosen.write:
        write(chosen.write, table(rows), OPEN, CLOSE)
    else:
        print(table(rows), end="")
    if not chosen.require:
        return 0
    failures = broken(rows)
    for failure in failures:
        print(f"FAIL  {failure}")
    asked = len(PROMISES) + len(peers.PEERS)
    print(f"{asked - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
