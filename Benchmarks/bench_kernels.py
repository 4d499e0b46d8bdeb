#!/usr/bin/env python3
"""The kernels and whole sessions in memory beside the libraries, in one run on one machine, as Markdown tables.

    bench_kernels.py KERNEL_BENCH [--write docs/PERFORMANCE.md]

KERNEL_BENCH is the executable that times our side. The libraries quantize the same number of weights with one thread.
All rates are input bytes over CPU time, medians. --write puts the tables between the markers in a file.
"""

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bitsandbytes.functional
import mlx.core
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.quantization.utils import calculate_qparams

OPEN, CLOSE = "<!-- bench-kernels -->", "<!-- /bench-kernels -->"
LEVELS = ["Swift", "AVX2", "AVX-512"]
RUNS = 5


def libraries() -> dict:
    """By the session that does the same: what the library's own code takes for it."""
    torch.set_num_threads(1)
    mlx.core.set_default_device(mlx.core.cpu)
    weight = torch.randn(1024, 4096, generator=torch.Generator().manual_seed(1)) * 0.02
    apple = mlx.core.array(weight.numpy())
    int4 = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=128, symmetric=True)
    fp8 = QuantizationArgs(num_bits=8, type="float", strategy="channel", symmetric=True)

    def nf4(tensor: torch.Tensor, nested: bool):
        return lambda: bitsandbytes.functional.quantize_4bit(tensor, quant_type="nf4", compress_statistics=nested)

    def tensors(args: QuantizationArgs, groups: int):
        def work():
            grouped = weight.reshape(1024, groups, -1)
            scale, zero = calculate_qparams(grouped.amin(-1), grouped.amax(-1), args)
            return quantize(weight, scale, zero, args, dtype=torch.int8 if args.type == "int" else torch.float8_e4m3fn)

        return work

    def affine(group_size: int):
        return lambda: mlx.core.eval(mlx.core.quantize(apple, group_size=group_size, bits=4))

    half = weight.bfloat16()
    works = {
        ("session, float32", "nf4, double quantization"): nf4(weight, True),
        ("session, float32", "nf4"): nf4(weight, False),
        ("session, float32", "nf4, reference, double quantization"): nf4(weight, True),
        ("session, float32", "nf4, reference"): nf4(weight, False),
        ("session, float32", "int8"): lambda: bitsandbytes.functional.int8_vectorwise_quant(weight.half()),
        ("session, float32", "int4 g128"): tensors(int4, 32),
        ("session, float32", "int4 g128, reference"): tensors(int4, 32),
        ("session, float32", "int4 MLX g64"): affine(64),
        ("session, float32", "int4 MLX g64, reference"): affine(64),
        ("session, float32", "fp8"): tensors(fp8, 1),
        ("session, float32", "fp8, reference"): tensors(fp8, 1),
        ("session, bfloat16 (GB/s of bfloat16)", "nf4, double quantization"): nf4(half, True),
        ("session, bfloat16 (GB/s of bfloat16)", "nf4, reference, double quantization"): nf4(half, True),
    }
    rates, known = {}, {}
    for name, work in works.items():
        size = weight.numel() * (2 if "bfloat16" in name[0] else 4)
        key = (name[0], name[1].replace(", reference", ""))
        if key not in known:
            known[key] = rate(work, size)
        rates[name] = known[key]
    return rates


def rate(work, size: int) -> float:
    work()
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return size / statistics.median(times) / 1e9


def ours(executable: str) -> dict:
    """By group and case: GB/s at each level, or with each number of threads."""
    made = subprocess.run([executable], capture_output=True, text=True, check=True).stdout
    rates = {}
    for line in made.splitlines():
        group, title, column, figure = line.split("\t")
        rates.setdefault((group, title), {})[column] = figure
    return rates


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def tables(measured: dict, peers: dict) -> str:
    reads = measured.pop(("read", "the largest magnitude of 64 MiB"))
    day = datetime.datetime.now(datetime.timezone.utc).date()
    lines = [
        f"`make bench-kernels` on {day}, {processor()}, one thread; GB/s of float32 input where nothing else is said.",
        f"Reading alone in the same run: {', '.join(f'{reads[level]} with {level}' for level in reads)}.",
        "",
        "| kernel | AVX2 | AVX-512 | of reading |",
        "|---|---:|---:|---:|",
    ]
    for (group, title), rates in measured.items():
        if not group.startswith(("session", "threads")):
            share = 100 * float(rates.get("AVX-512", rates["AVX2"])) / float(reads.get("AVX-512", reads["AVX2"]))
            of_reading = "" if "cache" in group else f"{share:.0f} %"
            lines.append(f"| {group}: {title} | {rates['AVX2']} | {rates.get('AVX-512', '')} | {of_reading} |")
    lines += ["", "| whole session in memory | Swift | AVX2 | AVX-512 | library | times |", "|---|---:|---:|---:|---:|---:|"]
    for (group, title), rates in measured.items():
        if not group.startswith("session"):
            continue
        figures = [rates.get(level, "") for level in LEVELS]
        peer = peers.get((group, title))
        best = max(float(figure) for figure in figures if figure)
        beside = f"{peer:.3f} | {best / peer:.0f}" if peer else " | "
        name = f"{title} (bfloat16)" if "bfloat16" in group else title
        lines.append(f"| {name} | {' | '.join(figures)} | {beside} |")
    lines += [
        "",
        f"Two threads on {os.cpu_count()} processors: time on the wall, the best of 25 runs, at a load average of "
        f"{os.getloadavg()[0]:.0f}.",
        "",
        "| session, float32 in pieces | one thread | two | times |",
        "|---|---:|---:|---:|",
    ]
    for (group, title), rates in measured.items():
        if group.startswith("threads"):
            times = float(rates["2"]) / float(rates["1"])
            name = f"{group.removeprefix('threads, pieces of ')}: {title}"
            lines.append(f"| {name} | {rates['1']} | {rates['2']} | {times:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("executable")
    options.add_argument("--write", metavar="FILE")
    chosen = options.parse_args()
    made = tables(ours(chosen.executable), libraries())
    sys.stdout.write(made)
    if chosen.write:
        text = Path(chosen.write).read_text(encoding="utf-8")
        before, rest = text.split(OPEN)
        Path(chosen.write).write_text(f"{before}{OPEN}\n{made}{CLOSE}{rest.split(CLOSE)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
