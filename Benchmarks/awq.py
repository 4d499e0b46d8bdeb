#!/usr/bin/env python3
"""AWQ of one Linear: AutoAWQ 0.2.9's own code on the CPU, and ours over HTTP, in one run.

    awq.py [--write docs/PERFORMANCE.md]        the service is found in VIVA_URL, its process in VIVA_PID

A weight of 4096x4096 and 2,048 tokens in float32, groups of 128. AutoAWQ's class `AwqQuantizer` comes from its
package on PyPI as it is (MIT licence, Casper Hansen); only the package's `__init__`, which imports CUDA kernels and
every model, is passed by. `_search_best_scale` looks for the scales of a norm and this Linear, `_search_best_clip` for its clips, in
float32 with one thread of torch: float16, its default, is slower on a CPU. Its packing is not timed.

Ours is what a request of one shot costs the process that serves, hashing, report and publication included. All times
are CPU time: the wall clock depends on who else is at work.

From some shapes of N outputs and K inputs the cost of `best` is fitted as a*N*K + b*N*K² + c*min(N, 512)*K² + d*K³ (grids;
products and rounding; the search for scales, which looks at 512 rows; the factor of the Gram) and added up for Llama 3
8B: on paper, not measured. All of it is cut into tiles that are spread over the cores.
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import sys
import tarfile
import time
import types
import urllib.request
from pathlib import Path

import torch
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "awq"))
import corpus  # noqa: E402
import table  # noqa: E402

OPEN, CLOSE = "<!-- bench-awq -->", "<!-- /bench-awq -->"
ROWS = COLUMNS = 4096
TOKENS, GROUP = 2048, 128
AWQ = "method=awq&calibration=data&group_size=128"
BEST = f"{AWQ}&scaling=keep"
# Flat ones at the end: there the factor of the Gram is much of the work.
SHAPES = ((4096, 4096), (1024, 4096), (4096, 2048), (1024, 2048), (256, 2048), (256, 4096), (128, 8192))
# Llama 3 8B: (outputs, inputs) -> how many a layer has, of 32 layers.
LARGE = {(4096, 4096): 2, (1024, 4096): 2, (14336, 4096): 2, (4096, 14336): 1}
LAYERS, CORES = 32, 16
# Rows of a layer that the search for scales looks at.
SEARCHED = 512
# What is asked of the service -> (the table's words, form of the data).
OURS = {
    f"{AWQ}&mode=reference&scaling=keep": ("reference: the same scale and clip search", "activations"),
    BEST: ("best: scales, grids, GPTQ, output error on held-out tokens", "activations"),
    f"{AWQ}&scaling=none": ("best, no scales", "gram"),
    f"{AWQ}&scaling=none&rounding=nearest": ("best, no scales, round to nearest", "gram"),
    "method=nf4&calibration=data": ("NF4, best: scales, GPTQ", "gram"),
    "method=int4&format=awq&calibration=none": ("no data", None),
}


def problem() -> tuple:
    """A weight and inputs of correlated channels, a few of them large."""
    generator = torch.Generator().manual_seed(11)
    weight = torch.randn(ROWS, COLUMNS, generator=generator) * 0.02
    mix = torch.randn(256, COLUMNS, generator=generator)
    inputs = torch.randn(TOKENS, 256, generator=generator) @ mix / 16
    inputs += torch.randn(TOKENS, COLUMNS, generator=generator)
    large = torch.randperm(COLUMNS, generator=generator)[:32]
    inputs[:, large] *= 20
    return weight, inputs


def autoawq():
    """AutoAWQ's class, its package unpacked beside the other data."""
    folder = corpus.DATA / "autoawq"
    if not folder.exists():
        with tarfile.open(corpus.package(corpus.AUTOAWQ)) as archive:
            archive.extractall(folder, filter="data")
    package = types.ModuleType("awq")
    package.__path__ = [str(folder / "autoawq-0.2.9" / "awq")]
    sys.modules["awq"] = package
    quantizer = importlib.import_module("awq.quantize.quantizer").AwqQuantizer
    made = quantizer.__new__(quantizer)
    made.w_bit, made.group_size, made.zero_point, made.duo_scaling = 4, GROUP, True, True
    made.n_parallel_calib_samples, made.max_chunk_memory = None, 1024**3
    return made


@torch.no_grad()
def theirs(weight: torch.Tensor, inputs: torch.Tensor) -> dict:
    """Seconds of CPU time of the search for scales and of that for clips."""
    quantizer = autoawq()
    block = torch.nn.Sequential(torch.nn.LayerNorm(COLUMNS), torch.nn.Linear(COLUMNS, ROWS, bias=False))
    block[1].weight.data = weight.clone()
    started = time.process_time()
    _, _, scales = quantizer._search_best_scale(block, block[0], [block[1]], inputs)
    searched = time.process_time()
    block[1].weight.data = weight * scales
    quantizer._search_best_clip(block, {"linear": block[1]}, {"linear": inputs / scales})
    return {"scales": searched - started, "clips": time.process_time() - searched}


def used() -> float:
    """CPU seconds of the process that serves, and of those it waited for."""
    fields = Path(f"/proc/{os.environ['VIVA_PID']}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def ours(query: str, body: bytes) -> tuple:
    """CPU seconds, and the report's figures of the output."""
    before = used()
    request = urllib.request.Request(f"{os.environ['VIVA_URL']}/v1/quantize?{query}", data=body, method="POST")
    with urllib.request.urlopen(request) as answer:
        artifact = json.loads(answer.read())
    took = used() - before
    with urllib.request.urlopen(f"{os.environ['VIVA_URL']}/v1/artifacts/{artifact['id']}/report") as answer:
        return took, json.loads(answer.read())


def measure() -> str:
    weight, inputs = problem()
    data = {None: {}, "activations": {"activations": inputs}}
    data["gram"] = {"gram": inputs.T @ inputs / TOKENS, "count": torch.tensor([TOKENS])}
    lines = ["| | data | CPU seconds | AutoAWQ's search takes |", "|---|---|---:|---:|"]
    searched = theirs(weight, inputs)
    total = sum(searched.values())
    words = f"scales {searched['scales']:.1f} s, clips {searched['clips']:.1f} s"
    lines.append(f"| AutoAWQ 0.2.9's search: {words} | activations | {total:.1f} | 1 |")
    print(lines[-1], file=sys.stderr, flush=True)
    for query, (what, form) in OURS.items():
        took, _ = ours(query, save({"weight": weight, **data[form]}))
        lines.append(f"| {what} | {form or ''} | {took:.1f} | {total / took:.1f} times that |")
        print(lines[-1], file=sys.stderr, flush=True)
    paper = estimate(weight, inputs)
    today = datetime.date.today().isoformat()
    return "\n".join(lines) + f"\n\n{paper}\n{today}, {processor()}, torch {torch.__version__}.\n"


def parts(rows: int, columns: int) -> list:
    """What grows with the weight, with products of matrices, with the rows that are searched, with the factor."""
    return [rows * columns, rows * columns**2, min(rows, SEARCHED) * columns**2, columns**3]


def estimate(weight: torch.Tensor, inputs: torch.Tensor) -> str:
    costs = []
    # Twice as many inputs, none of them twice at the same token.
    weight, inputs = torch.cat([weight, weight.flip(1)], 1), torch.cat([inputs, inputs.roll(1, 0)], 1)
    for rows, columns in SHAPES:
        part = inputs[:, :columns]
        body = {"weight": weight[:rows, :columns].contiguous(), "gram": part.T @ part / TOKENS}
        body["count"] = torch.tensor([TOKENS])
        costs.append(ours(BEST, save(body))[0])
        print(f"{rows}x{columns}: {costs[-1]:.2f} s", file=sys.stderr, flush=True)
    # Each shape counts alike: least squares of relative errors.
    matrix = torch.tensor([parts(*shape) for shape in SHAPES], dtype=torch.float64)
    matrix /= torch.tensor(costs, dtype=torch.float64)[:, None]
    sizes = matrix.amax(0)
    factors = torch.linalg.lstsq(matrix / sizes, torch.ones(len(SHAPES), 1, dtype=torch.float64)).solution[:, 0]
    factors = factors.clamp(min=0) / sizes
    seconds = LAYERS * sum(
        count * factors * torch.tensor(parts(*shape), dtype=torch.float64) for shape, count in LARGE.items()
    )
    shapes = ", ".join(f"{rows}x{columns} {cost:.1f} s" for (rows, columns), cost in zip(SHAPES, costs))
    hours, factored, wall = seconds.sum() / 3600, seconds[-1] / 60, seconds.sum() / CORES / 60
    return (
        f"`best` with scales and a Gram, CPU time:\n{shapes}.\n\n"
        f"On paper, Llama 3 8B ({LAYERS} layers, 224 Linears) takes {hours:.1f} hours of CPU time, {factored:.0f} minutes of it\n"
        f"for the factors of Grams: {wall:.0f} minutes on {CORES} cores, were they all busy.\n"
    )


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", type=Path, metavar="FILE")
    chosen = options.parse_args()
    made = measure()
    if chosen.write:
        table.write(chosen.write, made, OPEN, CLOSE)
    else:
        print(made, end="")
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
