"""Artifacts as their own libraries read and write them.

bitsandbytes is the real one. AutoAWQ is archived and does not install beside a current torch, so its GEMM layout is
stated here again, from the rules of AutoAWQ 0.2.9 (awq/modules/linear/gemm.py, awq/utils/packing_utils.py and
awq/quantize/quantizer.py). The self-test holds this statement against files that AutoAWQ itself wrote.

A layer is a dict of tensors without their module prefix: `weight`, `weight.absmax`, `SCB`, `qweight`, ...
"""

import bitsandbytes
import bitsandbytes.functional
import torch

# Which output channel, counted within eight, sits in the i-th nibble of a word, lowest bits first.
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


class Mismatch(AssertionError):
    """The artifact is not what its library would have made, or cannot read it."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Mismatch(message)


def same_tensors(got: dict, expected: dict) -> None:
    """Names, dtypes, shapes and bytes agree."""
    require(set(got) == set(expected), f"tensors {sorted(got)}, expected {sorted(expected)}")
    for name, want in expected.items():
        have = got[name]
        require(have.dtype == want.dtype, f"{name} is {have.dtype}, expected {want.dtype}")
        require(have.shape == want.shape, f"{name} is {list(have.shape)}, expected {list(want.shape)}")
        a, b = (t.contiguous().flatten().view(torch.uint8) for t in (have, want))
        differing = int((a != b).sum())
        require(differing == 0, f"{name} differs from the library's in {differing} of {b.numel()} bytes")


# NF4


def nf4_quantize(weight: torch.Tensor, block_size: int, double_quant: bool) -> dict:
    """What bitsandbytes writes for this weight."""
    made = bitsandbytes.nn.Params4bit(
        weight.clone(),
        requires_grad=False,
        quant_type="nf4",
        blocksize=block_size,
        compress_statistics=double_quant,
    ).to("cpu")
    stats = {"weight." + key: value for key, value in made.quant_state.as_dict(packed=True).items()}
    return {"weight": made.data, **stats}


def nf4_load(layer: dict):
    stats = {key[len("weight.") :]: value.clone() for key, value in layer.items() if key.startswith("weight.")}
    return bitsandbytes.nn.Params4bit.from_prequantized(
        data=layer["weight"].clone(), quantized_stats=stats, requires_grad=False, device="cpu"
    )


def nf4_dequantize(layer: dict) -> torch.Tensor:
    """The weight that bitsandbytes computes with, in the dtype it returns."""
    loaded = nf4_load(layer)
    state = loaded.quant_state
    shape, count = state.shape, state.shape.numel()
    # bitsandbytes 0.50.2 takes wrong scales on AVX-512 machines where a block crosses the end of a row. Blocks run
    # over the flattened weight, so the same bytes are read as rows of one block each.
    if shape[-1] % state.blocksize and count % state.blocksize == 0:
        state.shape = torch.Size([count // state.blocksize, state.blocksize])
    return bitsandbytes.functional.dequantize_4bit(loaded.data, state).reshape(shape)


def nf4_forward(layer: dict, inputs: torch.Tensor) -> torch.Tensor:
    """The output of a Linear4bit that holds the artifact, as transformers sets it up."""
    parameter = nf4_load(layer)
    rows, columns = parameter.quant_state.shape
    module = bitsandbytes.nn.Linear4bit(columns, rows, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    module.weight = parameter
    module.train()  # The inference path re-packs the weights for the CPU and rounds the scales to bfloat16.
    return module(inputs).detach()


# INT8


def int8_quantize(weight: torch.Tensor) -> dict:
    made = bitsandbytes.nn.Int8Params(weight.clone(), requires_grad=False, has_fp16_weights=False).to("cpu")
    return {"weight": made.CB, "SCB": made.SCB, "weight_format": torch.tensor(0, dtype=torch.uint8)}


def int8_dequantize(layer: dict) -> torch.Tensor:
    return bitsandbytes.functional.int8_vectorwise_dequant(layer["weight"], layer["SCB"])


def int8_forward(layer: dict, inputs: torch.Tensor) -> torch.Tensor:
    """The output of a Linear8bitLt; it rounds the activations to 8 bits as well."""
    rows, columns = layer["weight"].shape
    module = bitsandbytes.nn.Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False, threshold=6.0)
    parameter = bitsandbytes.nn.Int8Params(
        layer["weight"].clone(), requires_grad=False, has_fp16_weights=False, SCB=layer["SCB"].clone()
    )
    parameter.CB, parameter.SCB = parameter.data, layer["SCB"].clone()
    module.weight = parameter
    return module(inputs.half()).float().detach()


# AWQ


def awq_grid(weight: torch.Tensor, group_size: int):
    """Codes, zeros (both [out, groups, ...]) and scales of AutoAWQ's min-max grid: every step rounds to float16."""
    rows, columns = weight.shape
    w = weight.half().reshape(rows, columns // group_size, group_size)
    low, high = w.amin(-1, keepdim=True), w.amax(-1, keepdim=True)
    scales = (high - low).clamp(min=1e-5) / 15
    zeros = (-torch.round(low / scales)).clamp(0, 15)
    codes = (torch.round(w / scales) + zeros).clamp(0, 15)
    return codes.reshape(rows, columns), zeros.squeeze(-1), scales.squeeze(-1)


def awq_pack_words(values: torch.Tensor) -> torch.Tensor:
    """[rows, channels] of 0...15 -> int32 [rows, channels / 8]."""
    eights = values.to(torch.int64).reshape(values.shape[0], -1, 8)
    words = sum(eights[:, :, channel] << (4 * nibble) for nibble, channel in enumerate(AWQ_ORDER))
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def awq_unpack_words(words: torch.Tensor) -> torch.Tensor:
    """int32 [rows, channels / 8] -> [rows, channels] of 0...15."""
    wide = words.to(torch.int64)
    eights = torch.empty(*wide.shape, 8, dtype=torch.int64)
    for nibble, channel in enumerate(AWQ_ORDER):
        eights[:, :, channel] = (wide >> (4 * nibble)) & 15
    return eights.reshape(wide.shape[0], -1)


def awq_quantize(weight: torch.Tensor, group_size: int) -> dict:
    """Round to nearest, without a search: what `calibration=none` must give."""
    codes, zeros, scales = awq_grid(weight, group_size)
    return {
        "qweight": awq_pack_words(codes.T.contiguous()),
        "qzeros": awq_pack_words(zeros.T.contiguous()),
        "scales": scales.T.contiguous(),
    }


def awq_dequantize(layer: dict, shape, group_size: int) -> torch.Tensor:
    """(q - z) * s in float16, [out, in]; refuses what a strict load into WQLinear_GEMM would refuse."""
    rows, columns = shape
    expected = {
        "qweight": (torch.int32, [columns, rows // 8]),
        "qzeros": (torch.int32, [columns // group_size, rows // 8]),
        "scales": (torch.float16, [columns // group_size, rows]),
    }
    for name, (dtype, size) in expected.items():
        require(name in layer, f"{name} is missing")
        have = layer[name]
        require(have.dtype == dtype, f"{name} is {have.dtype}, expected {dtype}")
        require(list(have.shape) == size, f"{name} is {list(have.shape)}, expected {size}")
    codes, zeros = awq_unpack_words(layer["qweight"]), awq_unpack_words(layer["qzeros"])
    spread = zeros.repeat_interleave(group_size, 0)
    scales = layer["scales"].repeat_interleave(group_size, 0)
    return ((codes - spread).half() * scales).T.contiguous()
