#!/usr/bin/env python3
"""Writes Sources/Quantization/Recipe/ArchitectureData.swift: how every architecture of transformers differs.

    selection_table.py [CACHE_DIR]      (a model takes a second; what CACHE_DIR holds is not built again)

Each model type is built on the meta device with its own default configuration, made shallow. For every 2-D tensor of
a saved checkpoint the quantizer of transformers says whether bitsandbytes replaces the module that it loads into; what
the generic rule of `ArchitectureRule` would get wrong becomes a line of the table.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING
from transformers.core_model_loading import revert_weight_conversion
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "Sources" / "Quantization" / "Recipe" / "ArchitectureData.swift"
AUTO_CLASSES = ("CausalLM", "ImageTextToText", "Seq2SeqLM", "MaskedLM")
DEPTHS = (
    "num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers",
    "num_decoder_layers", "vision_layers",
)
# Where the default configuration is none that can be built.
SETTINGS = {
    "nemotron": {"num_key_value_heads": 8},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 8, "moe_topk": 2},
    "ministral": {"head_dim": 128},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"], "num_hidden_layers": 4},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "gemma3n_text": {"num_kv_shared_layers": 0},
}
# Linears of their own class: bitsandbytes leaves them, compressed-tensors takes them.
OWN_LINEARS = {"FalconLinear", "QuantLinear"}
COLUMNS = 116
# More exceptions than that, and the type counts as not known.
MOST_EXCEPTIONS = 6


def shallow(config) -> None:
    for key in DEPTHS:
        if isinstance(getattr(config, key, None), int):
            setattr(config, key, min(getattr(config, key), 4))
    if isinstance(getattr(config, "depth", None), int):
        config.depth = min(config.depth, 2)
    if getattr(config, "layer_types", None):
        config.layer_types = list(config.layer_types)[: config.num_hidden_layers]
    for key in getattr(config, "sub_configs", None) or {}:
        if getattr(config, key, None) is not None:
            shallow(getattr(config, key))


def build(model_type: str):
    config = CONFIG_MAPPING[model_type](**SETTINGS.get(model_type, {}))
    shallow(config)
    names = [f"AutoModelFor{name}" for name in AUTO_CLASSES] + ["AutoModel"]
    for name in names[:-1]:
        try:
            with torch.device("meta"):
                return getattr(transformers, name).from_config(config)
        except (ValueError, AttributeError, ImportError, TypeError, KeyError):
            continue
    with torch.device("meta"):
        return transformers.AutoModel.from_config(config)


def examine(model_type: str) -> dict:
    """Name, shape, whether it is quantized, and the parameters behind it, for every tensor of a checkpoint."""
    model = build(model_type)
    tied = set(getattr(model, "all_tied_weights_keys", {}))
    state = {key: value for key, value in model.state_dict().items() if key not in tied}
    skipped = HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)
    quantized, kinds = set(), {}
    for path, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            kinds[f"{path}.{name}".lstrip(".")] = type(module).__name__
        if (isinstance(module, Conv1D) or type(module) is nn.Linear) and should_convert_module(path, skipped):
            quantized.add(f"{path}.weight")
    sources, targets = {}, {}
    for key, value in state.items():
        if value.dim() == 2:
            try:
                names = list(revert_weight_conversion(model, {key: value}))
            except Exception:  # A conversion that needs several tensors at once: none of them is a lone Linear.
                continue
            targets[key] = len(names)
            for name in names:
                sources.setdefault(name, []).append(key)
    tensors = []
    for name, value in revert_weight_conversion(model, dict(state)).items():
        found = sources.get(name, [])
        chosen = any(key in quantized for key in found)
        count = targets[found[0]] if found else 0
        tensors.append([name, list(value.shape), chosen, [(key, kinds.get(key)) for key in found], count])
    return {"model_type": model_type, "tied": sorted(tied), "tensors": tensors}


def generic(name: str) -> bool:
    """`ArchitectureRule` without exceptions, for transformers."""
    if re.search(r"\.(gate|wg)\.weight$|router", name) or re.search(r"(^|\.)experts\.\d+\.", name):
        return False
    return not re.search(r"embed|wte|wpe|lm_head", name)


def matcher(glob: str):
    return re.compile("".join(".*" if letter == "*" else re.escape(letter) for letter in glob) + r"\Z")


def wanted(described: dict) -> list:
    """Name, sign and whether it is quantized as it is, for every 2-D weight."""
    rows = []
    for name, shape, chosen, sources, count in described["tensors"]:
        if len(shape) != 2 or not (name.endswith(".weight") or name == "weight"):
            continue
        kind = sources[0][1] if sources else None
        if chosen and kind == "Conv1D":
            sign = "~"
        elif chosen and len(sources) == 1 and count == 1:
            sign = "+"
        else:
            # Also Linears that are split or joined when they load: quantized codes cannot be.
            sign = "!" if kind in OWN_LINEARS else "-"
        rows.append((name, sign))
    return rows


def exceptions(described: dict) -> list:
    """Globs with signs for the weights that the generic rule gets wrong, none of them true of another weight."""
    rows = wanted(described)
    globs, covered = [], set()
    for name, sign in rows:
        if name in covered or (sign == "+") == generic(name):
            continue
        parts = ["*" if part.isdigit() else part for part in name.split(".")]
        shortest = min(len(parts), 3 if sign == "+" else 2)
        for count in range(shortest, len(parts) + 1):
            glob = ("*." if count < len(parts) else "") + ".".join(parts[-count:])
            found = [row for row in rows if matcher(glob).match(row[0])]
            if all(row[1] == sign for row in found):
                globs.append(sign + glob)
                covered |= {row[0] for row in found}
                break
    return globs


def heads(described: dict) -> list:
    """Modules that share another's weight, hence are in no file, but have to be named as left out."""
    names = [name.removesuffix(".weight") for name in described["tied"] if name.endswith(".weight")]
    return [name for name in names if name != "lm_head" and not re.search(r"embed|wte|shared|codebook|lm_heads", name)]


def wrapped(words: list) -> str:
    lines, line = [], ""
    for word in words:
        if line and len(line) + 1 + len(word) > COLUMNS - 8:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join(f"        {text}" for text in lines + [line])


def table(rows: dict) -> str:
    """Keys with colons, each before its words: a text, for as a dictionary it would be a line for each key."""
    return wrapped([word for key, words in rows.items() for word in [f"{key}:", *words]])


def text(models: list) -> str:
    known = [described["model_type"] for described in models]
    excepted = {described["model_type"]: exceptions(described) for described in models}
    excepted = {key: words for key, words in excepted.items() if words and len(words) <= MOST_EXCEPTIONS}
    left = {described["model_type"] for described in models if len(exceptions(described)) > MOST_EXCEPTIONS}
    named = {described["model_type"]: heads(described) for described in models}
    tied = [described["model_type"] for described in models if "lm_head.weight" in described["tied"]]
    return f'''/// What `tools/conformance/selection_table.py` found in transformers {transformers.__version__}; not written by hand.
enum ArchitectureData {{
    /// Model types whose weights the generic rule and the exceptions sort as the library does.
    static let known = """
{wrapped([name for name in known if name not in left])}
        """

    /// Weights that the generic rule gets wrong: `+` is quantized, `-` is not, `!` only outside of bitsandbytes, and
    /// `~` is the weight of a Conv1D, stored as [in, out].
    static let exceptions = """
{table(excepted)}
        """

    /// Modules without a weight of their own in a checkpoint, beside `lm_head`: a loader must be told to leave them.
    static let heads = """
{table({key: words for key, words in named.items() if words and key not in left})}
        """

    /// Model types whose output head is the embedding unless `config.json` says otherwise.
    static let tied = """
{wrapped([name for name in tied if name not in left])}
        """
}}
'''


def main() -> int:
    cache = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    models = []
    for model_type in CONFIG_MAPPING:
        path = cache / f"{model_type}.json"
        if not path.exists():
            try:
                path.write_text(json.dumps(examine(model_type)))
            except Exception as error:  # Needs a package that is not here, or no default configuration.
                print(f"{model_type}: left out, {type(error).__name__}", file=sys.stderr)
                continue
        models.append(json.loads(path.read_text()))
    TABLE.write_text(text(sorted(models, key=lambda described: described["model_type"])))
    print(f"{len(models)} model types")
    return 0


if __name__ == "__main__":
    sys.exit(main())
