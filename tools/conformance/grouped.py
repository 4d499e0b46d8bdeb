"""The formats with a scale for each group or row, in the real compressed-tensors and mlx.

A layer is a dict of tensors without their module prefix: `weight_packed`, `weight_scale`, `scales`, ...
"""

import mlx.core
import numpy
import torch
from compressed_tensors.compressors.base import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams

from layouts import require

mlx.core.set_default_device(mlx.core.cpu)
MLX_TYPES = {torch.float32: mlx.core.float32, torch.float16: mlx.core.float16, torch.bfloat16: mlx.core.bfloat16}


# compressed-tensors


def scheme_of(config: dict, module: str = "") -> tuple:
    """The format and the scheme that the library itself reads from a `quantization_config`.

    A group that names the module counts before the one of all Linears.
    """
    groups = list(QuantizationConfig.model_validate(config).config_groups.values())
    require(all(isinstance(group, QuantizationScheme) for group in groups), "no scheme in the configuration")
    named = [group for group in groups if module in group.targets]
    (scheme,) = named or [group for group in groups if "Linear" in group.targets]
    return scheme.format or config["format"], scheme


def arguments(params: dict) -> tuple:
    """The same from the parameters of a golden case."""
    weights = QuantizationArgs(
        num_bits=params["num_bits"],
        type=params["type"],
        strategy=params["strategy"],
        group_size=params["group_size"],
        symmetric=params["symmetric"],
        dynamic=False,
    )
    return params["format"], QuantizationScheme(targets=["Linear"], weights=weights)


def tensors_quantize(weight: torch.Tensor, form: str, scheme: QuantizationScheme) -> dict:
    """What compressed-tensors writes for this weight with scales from its minima and maxima."""
    args = scheme.weights
    groups = weight.shape[1] // args.group_size if args.strategy == "group" else 1
    grouped = weight.reshape(weight.shape[0], groups, -1)
    scale, zero_point = calculate_qparams(grouped.amin(-1), grouped.amax(-1), args)
    state = {"weight": weight.clone(), "weight_scale": scale.to(weight.dtype), "weight_zero_point": zero_point}
    made = BaseCompressor.get_value_from_registry(form).compress(state, scheme)
    return {name: value for name, value in made.items() if not (args.symmetric and name == "weight_zero_point")}


def tensors_dequantize(layer: dict, form: str, scheme: QuantizationScheme) -> torch.Tensor:
    """The weight that compressed-tensors restores."""
    return BaseCompressor.get_value_from_registry(form).decompress(dict(layer), scheme)["weight"]


# MLX


def to_mlx(tensor: torch.Tensor) -> mlx.core.array:
    if tensor.dtype in (torch.uint32, torch.int32):
        return mlx.core.array(tensor.view(torch.int32).numpy().view(numpy.uint32))
    return mlx.core.array(tensor.float().numpy()).astype(MLX_TYPES[tensor.dtype])


def from_mlx(array: mlx.core.array) -> torch.Tensor:
    if array.dtype == mlx.core.uint32:
        return torch.from_numpy(numpy.array(array).view(numpy.int32)).view(torch.uint32)
    back = {theirs: ours for ours, theirs in MLX_TYPES.items()}[array.dtype]
    return torch.from_numpy(numpy.array(array.astype(mlx.core.float32))).to(back)


def mlx_quantize(weight: torch.Tensor, group_size: int, bits: int) -> dict:
    """What `mx.quantize` writes for this weight."""
    made = mlx.core.quantize(to_mlx(weight), group_size=group_size, bits=bits)
    return {name: from_mlx(array) for name, array in zip(("weight", "scales", "biases"), made)}


def mlx_dequantize(layer: dict, group_size: int, bits: int) -> torch.Tensor:
    """The weight that MLX restores."""
    parts = [to_mlx(layer[name]) for name in ("weight", "scales", "biases")]
    return from_mlx(mlx.core.dequantize(*parts, group_size=group_size, bits=bits))
