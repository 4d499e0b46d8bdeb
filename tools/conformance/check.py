#!/usr/bin/env python3
"""Loads the service's artifacts with the libraries they are made for.

    check.py              against the service in VIVA_URL (tools/conformance/run.sh starts one)
    check.py --self-test  the checker itself against the golden files that the real libraries wrote

For every quantized tensor: the bytes are those that the library itself makes of the original weight (mode=best: the
tensors are the library's, and the error of what it restores is no greater than with its own); the library loads them;
its module computes with them; and the report's MSE and SQNR are those of the values it returns.
What the service restores from the artifact is what the library returns, bit for bit.
Every other tensor passed through byte for byte.

Tolerances (relative, of the MSE): 1e-6 where the service sees every reconstructed value. With the library's own double
quantization the service's figures come from per-block sums, which leave out the final rounding of each value to the
weight's dtype: 1e-5 for float32, 2e-4 for float16, 2e-3 for bfloat16.
"""

import json
import math
import os
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path

# Before torch is imported: bitsandbytes compiles its CPU fallback anew for every shape otherwise.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import numpy
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

import grouped
import layouts
from layouts import Mismatch, require

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES, GOLDEN = ROOT / "Examples", ROOT / "Tests" / "Fixtures" / "golden"
# Methods whose default is not the library's own encoder.
BEST = {"nf4", "int4", "fp8", "awq"}
# Our default and the library's own algorithm.
BOTH = ({}, {"mode": "reference"})
EXACT, BLOCK_SUMS = 1e-6, {torch.float32: 1e-5, torch.float16: 2e-4, torch.bfloat16: 2e-3}


@dataclass
class Case:
    """One request: tensors in, the recipe, and what it is called in the output."""

    title: str
    tensors: dict
    method: str
    options: dict = field(default_factory=dict)

    @property
    def query(self) -> str:
        return "&".join(f"{key}={value}" for key, value in {"method": self.method, **self.options}.items())

    @property
    def is_best(self) -> bool:
        """By default, where the weights alone decide: what best makes of activations is judged by the output."""
        if self.method == "awq" and "calibration" not in self.options:
            return False
        return self.method in BEST and "mode" not in self.options

    @property
    def has_block_sums(self) -> bool:
        return "mode" in self.options and self.options.get("double_quant") == "true"


def cases() -> list:
    layer = load_file(EXAMPLES / "minilm-layer0.safetensors")
    awq = load_file(EXAMPLES / "awq-layer.safetensors")
    weight, calibration = awq["weight"], {"weight": awq["weight"], "activations": awq["activations"]}
    generator = torch.Generator().manual_seed(7)
    plain, nested = ({"mode": "reference", "double_quant": flag} for flag in ("false", "true"))
    best = [{"double_quant": flag} for flag in ("false", "true")]
    made = [
        Case("MiniLM layer 0", layer, "nf4", nested),
        Case("MiniLM layer 0", layer, "nf4", plain),
        *(Case("MiniLM layer 0", layer, "nf4", options) for options in best),
        Case("MiniLM layer 0", layer, "int8"),
    ]
    for dtype in (torch.bfloat16, torch.float16):
        cast = {"weight": weight.to(dtype), "bias": layer["encoder.layer.0.attention.self.value.bias"].to(dtype)}
        title = str(dtype).removeprefix("torch.")
        made += [Case(title, cast, "nf4", options) for options in (plain, nested, *best)]
        made.append(Case(title, cast, "int8"))
        made += [Case(title, cast, "awq", {"calibration": "none", **mode}) for mode in BOTH]
    for size in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        options = nested if size in (32, 4096) else plain
        made.append(Case("blocks", {"weight": weight}, "nf4", {"block_size": size, **options}))
        made.append(Case("blocks", {"weight": weight}, "nf4", {"block_size": size, "double_quant": "true"}))
    for shape in ((5, 13), (37, 41), (320, 96)):
        odd = {"weight": torch.randn(shape, generator=generator) * 0.05}
        title = "x".join(map(str, shape))
        made += [Case(title, odd, "nf4", options) for options in (plain, nested, *best)]
        made.append(Case(title, odd, "int8"))
    for size in (32, 64, 128):
        options = {"group_size": size, "calibration": "none"}
        made += [Case("rounded", {"weight": weight}, "awq", {**options, **mode}) for mode in BOTH]
    for size in (64, 128):
        made += [Case("clipped", calibration, "awq", {"group_size": size, **mode}) for mode in BOTH]
        made += [Case("scaled", calibration, "awq", {"group_size": size, "scaling": "keep", **mode}) for mode in BOTH]
    return made + grouped_cases(layer, weight)


def grouped_cases(layer: dict, weight: torch.Tensor) -> list:
    """compressed-tensors, MLX, and int4 in AWQ's layout."""
    tensors, apple = {"format": "compressed-tensors"}, {"format": "mlx"}
    recipes = [("int4", {}), ("int4", {"group_size": -1}), ("int8", tensors), ("fp8", {}), ("int4", apple)]
    recipes += [("int8", {**tensors, "scheme": "W8A8"}), ("int8", {**tensors, "group_size": 32}), ("int8", apple)]
    made = [Case("MiniLM layer 0", layer, method, options) for method, options in recipes]
    made += [Case("MiniLM layer 0", layer, "int4", {"format": "awq", "group_size": size}) for size in (32, 128)]
    for dtype in (torch.bfloat16, torch.float16):
        cast = {"weight": weight.to(dtype)}
        made += [Case(str(dtype).removeprefix("torch."), cast, method, options) for method, options in recipes]
    for size in (32, 64, 128):
        for form in (tensors, apple):
            for method in ("int4", "int8"):
                made.append(Case("groups", {"weight": weight}, method, {**form, "group_size": size}))
    ragged = {"weight": torch.randn((37, 41), generator=torch.Generator().manual_seed(8)) * 0.05}
    rows = [("int4", {"group_size": -1}), ("int8", tensors), ("int8", {**tensors, "scheme": "W8A8"}), ("fp8", {})]
    made += [Case("37x41", ragged, method, options) for method, options in rows]
    # Every float16 up to the largest that fp8 surely restores: all that lies between two of its values.
    every = torch.arange(2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    halves = torch.cat([every[every <= 65472], -every[every <= 65472]]).reshape(2, -1)
    for dtype in (torch.float16, torch.float32):
        made.append(Case("every half", {"weight": halves.to(dtype)}, "fp8"))
        made.append(Case("every half", {"weight": halves.to(dtype) / 2}, "int8", tensors))
    made += [
        replace(case, options={**case.options, "mode": "reference"}) for case in made if case.is_best
    ]
    return made


def ask(path: str, body: bytes = None) -> bytes:
    request = urllib.request.Request(os.environ["VIVA_URL"] + path, data=body)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read()
    except urllib.error.HTTPError as refusal:
        raise Mismatch(f"{refusal.code}: {refusal.read().decode(errors='replace')}") from None


def quantize(case: Case) -> tuple:
    """Artifact JSON, report JSON, tensors as the safetensors library reads them."""
    artifact = json.loads(ask("/v1/quantize?" + case.query, save(case.tensors, {"format": "pt"})))
    report = json.loads(ask(f"/v1/artifacts/{artifact['id']}/report"))
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(ask(f"/v1/artifacts/{artifact['id']}/content"))
        file.flush()
        with safe_open(file.name, "pt") as opened:
            form = "mlx" if artifact["format"] == "mlx" else "pt"
            require((opened.metadata() or {}).get("format") == form, f"the metadata does not say format={form}")
            return artifact, report, {name: opened.get_tensor(name) for name in opened.keys()}


def check_restored(artifact: dict, name: str, returned: torch.Tensor) -> None:
    """What the service restores is what the library returns, in every bit."""
    for dtype in ("original", "float32"):
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            file.write(ask(f"/v1/artifacts/{artifact['id']}/dequantized?dtype={dtype}"))
            file.flush()
            with safe_open(file.name, "pt") as opened:
                restored = opened.get_tensor(name)
        expected = returned if dtype == "original" else returned.float()
        layouts.same_tensors({name: restored}, {name: expected})


def take_layer(tensors: dict, prefix: str, method: str) -> dict:
    """Removes one module's quantized tensors from the artifact's and gives them without their prefix.

    `method` is `nf4` or `int8` of bitsandbytes, or the name of another format.
    """
    names = {"nf4": ["weight"], "int8": ["weight", "SCB", "weight_format"]}
    names["compressed-tensors"] = ["weight", "weight_packed", "weight_scale", "weight_shape"]
    names["mlx"] = ["weight", "scales", "biases"]
    wanted = names.get(method, ["qweight", "qzeros", "scales", "input_scales"])
    taken = [
        name
        for name in tensors
        if name.startswith(prefix)
        and (name[len(prefix) :] in wanted or (method == "nf4" and name[len(prefix) :].startswith("weight.")))
    ]
    return {name[len(prefix) :]: tensors.pop(name) for name in taken}


def errors(original: torch.Tensor, returned: torch.Tensor) -> tuple:
    """Sum of squares, sum of squared errors, count; in float64."""
    x, y = (t.detach().to(torch.float64).numpy() for t in (original, returned))
    return float(numpy.sum(x * x)), float(numpy.sum((x - y) ** 2)), x.size


def check_figures(stated: dict, sums: tuple, tolerance: float) -> None:
    signal, noise, count = sums
    if noise == 0:
        require(stated["sqnr_db"] is None and stated["mse"] == 0, f"exact, but the report says {stated['mse']}")
        return
    mse, sqnr = noise / count, 10 * math.log10(signal / noise)
    off = abs(stated["mse"] - mse) / mse
    require(off <= tolerance, f"the report's MSE is {stated['mse']:.9g}, measured {mse:.9g} (off by {off:.1e})")
    decibels = abs(stated["sqnr_db"] - sqnr)
    require(decibels <= 5 * tolerance, f"the report's SQNR is {stated['sqnr_db']:.7f}, measured {sqnr:.7f}")


def check_forward(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    off = float((got - expected).abs().max() / expected.abs().max())
    require(off <= tolerance, f"the module's output is off by {off:.1e} of its largest value")


def check_bitsandbytes(layer: dict, original: torch.Tensor, case: Case) -> torch.Tensor:
    """The library's own bytes, its values, and its module; gives the values."""
    inputs = torch.randn(3, original.shape[1], generator=torch.Generator().manual_seed(0))
    if case.method == "int8":
        layouts.same_tensors(layer, layouts.int8_quantize(original))
        returned = layouts.int8_dequantize(layer)
        check_forward(layouts.int8_forward(layer, inputs), inputs @ returned.float().T, 0.05)
        return returned
    block_size = int(case.options.get("block_size", 64))
    double_quant = case.options.get("double_quant", "true") == "true"
    library = layouts.nf4_quantize(original, block_size, double_quant)
    returned = layouts.nf4_dequantize(layer)
    if case.is_best:
        check_best(layer, library, original, returned, layouts.nf4_dequantize(library))
    else:
        layouts.same_tensors(layer, library)
    # Where a block crosses a row end the library's own kernel misreads it on some machines (layouts.nf4_dequantize).
    if original.shape[1] % block_size == 0:
        check_forward(layouts.nf4_forward(layer, inputs), inputs @ returned.float().T, 2e-2)
    return returned


def check_best(
    layer: dict, library: dict, original: torch.Tensor, returned: torch.Tensor, by_library: torch.Tensor
) -> None:
    """The library's tensors with other contents, and no more error than its own."""
    state = "weight.quant_state.bitsandbytes__nf4"
    require(set(layer) == set(library), f"tensors {sorted(layer)}")
    for name, made in library.items():
        require(layer[name].dtype == made.dtype, f"{name} is {layer[name].dtype}")
        require(name == state or layer[name].shape == made.shape, f"{name} is {list(layer[name].shape)}")
    if state in library:
        texts = [json.loads(bytes(tensors[state].tolist())) for tensors in (layer, library)]
        for text in texts:
            text.pop("nested_offset", None)
        require(texts[0] == texts[1], f"the state is {texts[0]}")
    (_, lost, _), (_, lost_by_library, _) = (errors(original, values) for values in (returned, by_library))
    require(lost <= lost_by_library, f"more error than the library: {lost:.6g} against {lost_by_library:.6g}")


def check_awq(layer: dict, original: torch.Tensor, case: Case) -> torch.Tensor:
    """Without a search, AutoAWQ's own bytes; with one, an output no worse than without. Gives the values."""
    group_size = int(case.options.get("group_size", 128))
    nearest = layouts.awq_quantize(original, group_size)
    input_scales = layer.pop("input_scales", None)
    require(set(layer) == {"qweight", "qzeros", "scales"}, f"tensors {sorted(layer)}")
    returned = layouts.awq_dequantize(layer, original.shape, group_size)
    if case.options.get("scaling") == "keep":
        require(input_scales is not None, "input_scales is missing")
        require(input_scales.dtype == torch.float32, f"input_scales is {input_scales.dtype}")
        require(list(input_scales.shape) == [original.shape[1]], f"input_scales is {list(input_scales.shape)}")
        # No library knows these scales: what multiplies the original input, in float32.
        returned = returned.float() / input_scales
    else:
        require(input_scales is None, "input_scales without scaling=keep")
    if case.is_best:
        check_best(layer, nearest, original, returned, layouts.awq_dequantize(nearest, original.shape, group_size))
        return returned
    if case.method == "int4" or case.options.get("calibration") == "none":
        layouts.same_tensors(layer, nearest)
        return returned
    inputs = case.tensors["activations"].double()
    plain = layouts.awq_dequantize(nearest, original.shape, group_size)
    lost, lost_plain = (
        float((inputs @ (weight.double() - original.double()).T).square().sum()) for weight in (returned, plain)
    )
    require(lost <= lost_plain, f"the search made the output worse: {lost:.6g} against {lost_plain:.6g}")
    return returned


def check_grouped(layer: dict, original: torch.Tensor, config: dict, case: Case) -> torch.Tensor:
    """The library's own bytes, or less error, and its values as it restores them by our `quantization_config`."""
    if "quant_method" not in config:
        require(config["mode"] == "affine", f"mode {config['mode']}")
        library = grouped.mlx_quantize(original, config["group_size"], config["bits"])

        def restored(tensors: dict) -> torch.Tensor:
            return grouped.mlx_dequantize(tensors, config["group_size"], config["bits"])
    else:
        form, scheme = grouped.scheme_of(config)
        library = grouped.tensors_quantize(original, form, scheme)

        def restored(tensors: dict) -> torch.Tensor:
            return grouped.tensors_dequantize(tensors, form, scheme)

    returned = restored(layer)
    require(returned.dtype == original.dtype, f"restored as {returned.dtype}, was {original.dtype}")
    if case.is_best:
        check_best(layer, library, original, returned, restored(library))
    else:
        layouts.same_tensors(layer, library)
    return returned


def check_case(case: Case) -> int:
    """The number of quantized tensors; raises Mismatch."""
    artifact, report, tensors = quantize(case)
    form, config = artifact["format"], artifact["quantization_config"]
    totals, checked = [0.0, 0.0, 0], 0
    stated = {entry["name"]: entry for entry in report["tensors"]}
    expected_rest = {}
    for name, original in case.tensors.items():
        prefix = name.removesuffix("weight")
        if case.method == "awq" and name == "activations":
            continue
        if not (name == "weight" or name.endswith(".weight")) or original.ndim != 2:
            owner = case.tensors.get(name.removesuffix("bias") + "weight")
            awq_bias = form == "awq" and name.endswith("bias") and owner is not None and owner.ndim == 2
            expected_rest[name] = original.half() if awq_bias else original
            continue
        try:
            layer = take_layer(tensors, prefix, case.method if form == "bitsandbytes" else form)
            if form in ("compressed-tensors", "mlx"):
                returned = check_grouped(layer, original, config, case)
            else:
                checker = check_awq if form == "awq" else check_bitsandbytes
                returned = checker(layer, original, case)
            require(name in stated, "not in the report")
            check_restored(artifact, name, returned)
            sums = errors(original, returned)
            check_figures(stated[name], sums, BLOCK_SUMS[original.dtype] if case.has_block_sums else EXACT)
        except Mismatch as mismatch:
            raise Mismatch(f"{name}: {mismatch}") from None
        totals = [a + b for a, b in zip(totals, sums)]
        checked += 1
    require(checked > 0, "no tensor was quantized")
    layouts.same_tensors(tensors, expected_rest)
    dtypes = {tensor.dtype for tensor in case.tensors.values()}
    tolerance = max(BLOCK_SUMS[dtype] for dtype in dtypes) if case.has_block_sums else EXACT
    check_figures(artifact["summary"], tuple(totals), tolerance)
    return checked


def run_cases() -> int:
    failed = passed = 0
    for case in cases():
        try:
            count = check_case(case)
            print(f"ok    {case.title}: {case.query}: {count} tensors")
            passed += 1
        except Mismatch as mismatch:
            print(f"FAIL  {case.title}: {case.query}: {mismatch}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def golden_layer(case: dict) -> tuple:
    tensors = load_file(GOLDEN / case["file"])
    part = lambda prefix: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
    return part("in."), part("out."), part("deq.")


def check_golden(case: dict) -> None:
    """The statements of layouts.py against one file of the real library."""
    original, made, returned = golden_layer(case)
    weight, params = original["weight"], case["params"]
    if case["kind"] == "bnb4":
        layouts.same_tensors(made, layouts.nf4_quantize(weight, params["blocksize"], params["double_quant"]))
        values = layouts.nf4_dequantize(made)
    elif case["kind"] == "bnb_int8":
        layouts.same_tensors(made, layouts.int8_quantize(weight))
        values = layouts.int8_dequantize(made)
    elif case["kind"] == "mlx":
        made["weight"] = made.pop("weight_as_i32").view(torch.uint32)
        layouts.same_tensors(made, grouped.mlx_quantize(weight, params["group_size"], params["bits"]))
        values = grouped.mlx_dequantize(made, params["group_size"], params["bits"])
    elif case["kind"] == "compressed_tensors":
        form, scheme = grouped.arguments(params)
        layouts.same_tensors(made, grouped.tensors_quantize(weight, form, scheme))
        values = grouped.tensors_dequantize(made, form, scheme)
    else:
        packed = {name: made[name] for name in ("qweight", "qzeros", "scales")}
        layouts.same_tensors(packed, layouts.awq_quantize(weight, params["group_size"]))
        values = layouts.awq_dequantize(packed, weight.shape, params["group_size"])
    for reference in returned.values():
        require(torch.equal(values.float().reshape(reference.shape), reference.float()), "other values")
    damaged = {name: tensor.clone() for name, tensor in made.items()}
    codes = next(name for name in ("qweight", "weight_packed", "weight") if name in made)
    flat = damaged[codes].view(torch.uint8).flatten()
    flat[flat.numel() // 2] ^= 1
    try:
        layouts.same_tensors(damaged, made)
    except Mismatch:
        return
    raise Mismatch("a damaged bit went unseen")


def self_test() -> int:
    failed = passed = 0
    for case in json.loads((GOLDEN / "index.json").read_text())["cases"]:
        if case["kind"] not in ("bnb4", "bnb_int8", "awq_pack", "mlx", "compressed_tensors"):
            continue
        if case["params"].get("quant_type") == "fp4" or case["params"].get("quant_storage", "uint8") != "uint8":
            continue
        try:
            check_golden(case)
            passed += 1
        except Mismatch as mismatch:
            print(f"FAIL  {case['id']}: {mismatch}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    # The mean of the scales (the double quantization's offset) depends on the number of threads; one is the promise.
    torch.set_num_threads(1)
    sys.exit(self_test() if "--self-test" in sys.argv[1:] else run_cases())
