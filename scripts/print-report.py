#!/usr/bin/env python3
"""Prints a quality report (GET /v1/artifacts/{id}/report) as an aligned table: print-report.py REPORT.json"""

import json
import sys

COLUMNS = [
    ("sqnr_db", "SQNR dB", "{:.2f}"),
    ("mse", "MSE", "{:.3e}"),
    ("psnr_db", "PSNR dB", "{:.2f}"),
    ("cosine_similarity", "cosine", "{:.6f}"),
    ("max_abs_error", "max error", "{:.3e}"),
]


def cells(row: dict) -> list:
    """The figures of one row; an exact tensor has no SQNR and no PSNR, one that passed through has none at all."""
    if not row.get("quantized", True):
        return ["unchanged"] + [""] * (len(COLUMNS) - 1)
    return ["exact" if row[key] is None else form.format(row[key]) for key, _, form in COLUMNS]


def main() -> int:
    with open(sys.argv[1]) as file:
        report = json.load(file)
    table = [["tensor", "shape"] + [title for _, title, _ in COLUMNS]]
    for row in report["tensors"]:
        table.append([row["name"], "x".join(map(str, row["shape"]))] + cells(row))
    table.append(["all, pooled", ""] + cells(report["totals"]))
    widths = [max(map(len, column)) for column in zip(*table)]
    for row in table:
        texts = [text.ljust(width) for text, width in zip(row[:2], widths)]
        numbers = [text.rjust(width) for text, width in zip(row[2:], widths[2:])]
        print("  ".join(texts + numbers).rstrip())
    for warning in report["warnings"]:
        print("warning:", warning)
    return 0


if __name__ == "__main__":
    sys.exit(main())
