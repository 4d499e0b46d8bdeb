#!/usr/bin/env python3
"""The scoreboard: what each method keeps of the weights, measured by a running service and printed as Markdown.

    scoreboard.py [--url URL] [--check README.md | --write README.md]

--check compares the table between `<!-- scoreboard -->` and `<!-- /scoreboard -->` in the file with the one just
measured and fails when they differ; --write puts it there. The URL may also stand in VIVA_URL.

Weights: the benchmark that the Gleam library viva_tensor published, 512x512 values of N(0, 0.3) (Python's
random.Random(42).gauss, rounded to float32), and the examples. The last column is what that library published.
"""

import argparse
import array
import difflib
import json
import os
import random
import sys
import urllib.error
import urllib.request
from pathlib import Path

OPEN, CLOSE = "<!-- scoreboard -->", "<!-- /scoreboard -->"
EXAMPLES = Path(__file__).resolve().parent.parent / "Examples"
RAW = "&dtype=float32&shape=512,512"
LIKE_LIBRARY, PLAIN = "method=nf4&mode=reference", "&double_quant=false"
TITLES = [
    "weights",
    "method",
    "compression",
    "relative MSE",
    "SQNR dB",
    "MSE",
    "PSNR dB",
    "gap to 6.02 bits + 1.76",
    "gap to rate-distortion",
    "efficiency",
    "Gleam library",
]


def gaussian() -> bytes:
    """512 x 512 little-endian float32 values of N(0, 0.3), the same on every machine."""
    source = random.Random(42)
    values = array.array("f", (source.gauss(0, 0.3) for _ in range(512 * 512)))
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def cases() -> list:
    """(weights, method as shown, query, body, published figures)."""
    normal, layer = gaussian(), (EXAMPLES / "minilm-layer0.safetensors").read_bytes()
    rows = [
        ("512x512 N(0, 0.3)", "INT8", "method=int8" + RAW, normal, "4.0x 19.98 dB"),
        ("512x512 N(0, 0.3)", "NF4, as bitsandbytes", LIKE_LIBRARY + PLAIN + RAW, normal, "7.53x 19.98 dB"),
        ("512x512 N(0, 0.3)", "NF4", "method=nf4" + PLAIN + RAW, normal, "7.53x 19.98 dB"),
        ("512x512 N(0, 0.3)", "NF4, as bitsandbytes, double quantization", LIKE_LIBRARY + RAW, normal, "7.53x 19.98 dB"),
        ("512x512 N(0, 0.3)", "NF4, double quantization", "method=nf4" + RAW, normal, "7.53x 19.98 dB"),
        ("512x512 N(0, 0.3)", "AWQ, no activations", "method=awq&calibration=none" + RAW, normal, "7.70x 13.72 dB"),
        ("MiniLM layer 0", "INT8", "method=int8", layer, ""),
        ("MiniLM layer 0", "NF4, as bitsandbytes", LIKE_LIBRARY + PLAIN, layer, ""),
        ("MiniLM layer 0", "NF4", "method=nf4" + PLAIN, layer, ""),
        ("MiniLM layer 0", "NF4, as bitsandbytes, double quantization", LIKE_LIBRARY, layer, ""),
        ("MiniLM layer 0", "NF4, double quantization", "method=nf4", layer, ""),
    ]
    awq = EXAMPLES / "awq-layer.safetensors"
    if awq.exists():
        rows.append(("MiniLM value projection, its output", "AWQ, with activations", "method=awq", awq.read_bytes(), ""))
    return rows


def ask(url: str, body: bytes = None) -> dict:
    """One exchange; a problem document of the service is shown before it fails."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        sys.exit(f"scoreboard: {refusal.code} for {url}: {refusal.read().decode(errors='replace')}")


def of_weights(summary: dict, totals: dict) -> list:
    """The columns behind the compression, from the error of the weights."""
    sqnr = summary["sqnr_db"]
    return [
        f"{100 * 10 ** (-sqnr / 10):.3g} %",
        f"{sqnr:.2f}",
        f"{summary['mse']:.2e}",
        f"{summary['psnr_db']:.2f}",
        f"{totals['uniform_limit_db'] - sqnr:.2f}",
        f"{totals['sqnr_limit_db'] - sqnr:.2f}",
        f"{totals['efficiency']:.3f}",
    ]


def of_output(error: dict) -> list:
    """The same from the error of the layer's output on the tokens that the coding has not seen; the rest of the columns
    is about weights."""
    return [f"{100 * error['relative']:.3g} %", f"{error['sqnr_db']:.2f}", "", "", "", "", ""]


def measure(url: str) -> str:
    lines = ["| " + " | ".join(TITLES) + " |", "|---|---|" + "---:|" * (len(TITLES) - 2)]
    for weights, method, query, body, published in cases():
        artifact = ask(f"{url}/v1/quantize?{query}", body)
        report = ask(f"{url}/v1/artifacts/{artifact['id']}/report")
        output = report["tensors"][0].get("output_error")
        figures = of_output(output) if output else of_weights(artifact["summary"], report["totals"])
        figures = [f"{artifact['compression_ratio_fp32']:.2f}x", *figures]
        lines.append("| " + " | ".join([weights, method, *figures, published]) + " |")
    return "\n".join(lines) + "\n"


def between(text: str, path: str) -> tuple:
    """The text before, between and after the markers."""
    if text.count(OPEN) != 1 or text.count(CLOSE) != 1:
        sys.exit(f"scoreboard: {path} must hold {OPEN} and {CLOSE} once each")
    before, rest = text.split(OPEN)
    table, after = rest.split(CLOSE)
    return before, table.strip() + "\n", after


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", default=os.environ.get("VIVA_URL", "http://127.0.0.1:8080"))
    options.add_argument("--check", metavar="FILE")
    options.add_argument("--write", metavar="FILE")
    chosen = options.parse_args()
    table = measure(chosen.url)
    print(table, end="")
    path = chosen.check or chosen.write
    if not path:
        return 0
    before, kept, after = between(Path(path).read_text(encoding="utf-8"), path)
    if chosen.write:
        Path(path).write_text(f"{before}{OPEN}\n{table}{CLOSE}{after}", encoding="utf-8")
        return 0
    if kept == table:
        return 0
    sys.stdout.flush()
    sys.stderr.writelines(difflib.unified_diff(kept.splitlines(True), table.splitlines(True), path, "measured"))
    print(f"scoreboard: {path} differs; `make scoreboard` writes it anew", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
