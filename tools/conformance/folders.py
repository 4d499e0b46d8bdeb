#!/usr/bin/env python3
"""Quantizes whole model folders and loads them with `from_pretrained` and mlx-lm.

    folders.py WORK_DIR [NAME ...]    the executable is $VIVA; sources, outputs and expectations go into WORK_DIR;
                                      names of models or recipes narrow the run

Tiny random models are saved by transformers itself: tied and untied, grouped attention, experts, sharded, three dtypes.
`viva quantize SOURCE --method ... -o OUT` makes each folder. Of each is required:

* every file that is not weights, index or config.json is copied byte for byte, and the tokenizer loads;
* the index names every tensor and its bytes, and tensors that were not quantized are the source's bytes;
* from_pretrained finds every key it wants and no other;
* the logits are those of the float model whose weights are replaced with what the library restores from ours, and not
  one bit differs: the same operations on the same weights. W8A8 and FP8 round activations to 8 bits at run time; there
  the float model rounds the inputs of the same modules by the published rule. Less than equal are four, stated as the
  largest difference relative to the largest logit:
    FUSED         NF4 in inference, where bitsandbytes 0.50.2 repacks for the CPU and rounds scales to bfloat16; equal
                  is what it computes in training, where it restores the weights and multiplies;
    LLM_INT8      LLM.int8 computes in float16 with 8-bit activations, whatever the model's dtype: a rounding that falls
                  the other way is 1/127 of a token's largest value;
    GPTQMODEL     AWQ's kernel for the CPU, which gptqmodel picks, adds up in another order;
    MLX_ROUNDING  the matrix product of quantized weights adds up in another order than that of float weights.

`expected.json` lists, for engine.py (vLLM), what each folder should say to the prompt.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import bitsandbytes
import mlx.core
import mlx_lm.utils
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import grouped
import layouts
from check import take_layer
from layouts import Mismatch, require

FUSED, LLM_INT8, GPTQMODEL, MLX_ROUNDING = 2e-2, 4e-2, 1e-2, 1e-5
WEIGHT_STD = 0.05
PROMPT = [1, 17, 33, 99, 250, 311]
# The Conv1D of GPT-2 holds [in, out], and bitsandbytes the transpose.
CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
# What transformers 5.23 has no reader for where experts are joined: it restores packed and FP8 experts only.
UNREAD_EXPERTS = ("w8a8", "awq")
# Dimensions that every kernel of vLLM accepts: outputs by 64, inputs by 128.
SIZES = {
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# Every expert is asked: a choice between two that are nearly equal would turn a rounding into another answer.
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 4}


@dataclass
class Source:
    """A model to save: its class, configuration, dtype and the size of a shard."""

    class_name: str
    model_type: str
    settings: dict
    dtype: torch.dtype
    shard: str = "1GB"


@dataclass
class Recipe:
    """What is asked of `viva quantize`, and the check that the result is put to."""

    options: list
    kind: str
    engine: bool = False
    library: str = field(default="transformers")


SOURCES = {
    "llama": Source("LlamaForCausalLM", "llama", {"tie_word_embeddings": False}, torch.bfloat16, "500KB"),
    "qwen3": Source("Qwen3ForCausalLM", "qwen3", {"tie_word_embeddings": True, "head_dim": 64}, torch.float16),
    "mixtral": Source("MixtralForCausalLM", "mixtral", {**EXPERTS, "tie_word_embeddings": False}, torch.float32),
    "mixtral-tied": Source(
        "MixtralForCausalLM", "mixtral", {**EXPERTS, "tie_word_embeddings": True}, torch.bfloat16, "500KB"
    ),
}
TENSORS = ["--format", "compressed-tensors"]
# Another method for some of the tensors: groups of their own in the configuration.
MIXED = ["--overrides", '[{"match": "*.o_proj.weight", "method": "int8"}]']
RECIPES = {
    "nf4": Recipe(["--method", "nf4"], "nf4", engine=True),
    "nf4-plain": Recipe(["--method", "nf4", "--double-quant", "false"], "nf4", engine=True),
    "int8": Recipe(["--method", "int8"], "LLM.int8", engine=True),
    "w4a16": Recipe(["--method", "int4"], "exact", engine=True),
    "w4a16-g32": Recipe(["--method", "int4", "--group-size", "32"], "exact", engine=True),
    "w4a16-mixed": Recipe(["--method", "int4", *MIXED], "exact"),
    "w8a16": Recipe(["--method", "int8", *TENSORS], "exact"),
    "w8a8": Recipe(["--method", "int8", *TENSORS, "--scheme", "W8A8"], "W8A8", engine=True),
    "fp8": Recipe(["--method", "fp8"], "FP8", engine=True),
    "awq": Recipe(["--method", "int4", "--format", "awq"], "awq", engine=True, library="transformers, gptqmodel"),
    "mlx": Recipe(["--method", "int4", "--format", "mlx"], "mlx", library="mlx-lm"),
    "mlx-mixed": Recipe(["--method", "int4", "--format", "mlx", *MIXED], "mlx", library="mlx-lm"),
    "mlx-8bit": Recipe(["--method", "int8", "--format", "mlx"], "mlx", library="mlx-lm"),
}


def make_source(name: str, folder: Path) -> None:
    source = SOURCES[name]
    config = AutoConfig.for_model(source.model_type, **SIZES, **source.settings)
    model = getattr(transformers, source.class_name)._from_config(config, dtype=source.dtype)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * WEIGHT_STD)
    model.save_pretrained(folder, max_shard_size=source.shard)
    words = Tokenizer(WordLevel({f"w{number}": number for number in range(SIZES["vocab_size"])}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w2").save_pretrained(folder)
    (folder / "README.md").write_text("# A tiny model\n", encoding="utf-8")


def quantize(source: Path, out: Path, recipe: Recipe) -> None:
    command = [os.environ["VIVA"], "quantize", str(source), *recipe.options, "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()[-500:]}")


def read_folder(folder: Path) -> dict:
    """Every tensor of the folder; the index must name each of them, and their bytes."""
    index, tensors = folder / "model.safetensors.index.json", {}
    files = sorted(folder.glob("*.safetensors"))
    require(bool(files), f"no weights in {folder}")
    named = {}
    for path in files:
        with safe_open(path, "pt") as file:
            for name in file.keys():
                require(name not in tensors, f"{name} stands in two files")
                tensors[name], named[name] = file.get_tensor(name), path.name
    require(index.exists() == (len(files) > 1 or files[0].name != "model.safetensors"), "index and shards disagree")
    if index.exists():
        stated = json.loads(index.read_text())
        require(stated["weight_map"] == named, "the index names other tensors or files")
        size = sum(tensor.nbytes for tensor in tensors.values())
        require(stated["metadata"]["total_size"] == size, f"total_size {stated['metadata']}, tensors have {size}")
    return tensors


def check_copied(source: Path, out: Path) -> None:
    for path in source.iterdir():
        if path.name == "config.json" or "safetensors" in path.name:
            continue
        require((out / path.name).exists(), f"{path.name} was not copied")
        require((out / path.name).read_bytes() == path.read_bytes(), f"{path.name} differs from the source")
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (source, out))
    added = {key for key in after if key not in before}
    require(added <= {"quantization_config", "quantization"}, f"config.json gained {sorted(added)}")
    require(bool(added), "config.json says nothing of the quantization")
    changed = {key: after.get(key) for key in before if after.get(key) != before[key]}
    # AutoAWQ's scales and biases are float16, and so is the model that computes with them.
    half = {"dtype": "float16"} if after.get("quantization_config", {}).get("quant_method") == "awq" else {}
    require(changed.items() <= half.items(), f"config.json changed {changed}")
    require(AutoTokenizer.from_pretrained(out)("w17 w33")["input_ids"] == [17, 33], "the tokenizer reads other words")


def restored(source: dict, made: dict, config: dict, model_type: str = "") -> dict:
    """The source's tensors with the quantized ones as the library restores them; the rest must be the same bytes."""
    values, left = {}, dict(made)
    method = config.get("quant_method", "mlx")
    four_bits = config.get("load_in_4bit", False)
    kind = ("nf4" if four_bits else "int8") if method == "bitsandbytes" else method
    for name, original in source.items():
        if name in left and left[name].dtype == original.dtype and left[name].shape == original.shape:
            layouts.same_tensors({name: left.pop(name)}, {name: original})
            values[name] = original
            continue
        layer = take_layer(left, name.removesuffix("weight"), kind)
        require(bool(layer), f"{name} is missing")
        if kind == "nf4":
            values[name] = layouts.nf4_dequantize(layer)
        elif kind == "int8":
            values[name] = layouts.int8_dequantize(layer).to(original.dtype)
        elif kind == "awq":
            values[name] = layouts.awq_dequantize(layer, original.shape, config["group_size"])
            continue
        elif kind == "mlx":
            own = config.get(name.removesuffix(".weight"), config)
            wide = {part: tensor if part == "weight" else tensor.float() for part, tensor in layer.items()}
            values[name] = grouped.mlx_dequantize(wide, own["group_size"], own["bits"])
            continue
        else:
            values[name] = grouped.tensors_dequantize(layer, *grouped.scheme_of(config, name.removesuffix(".weight")))
        require(values[name].dtype == original.dtype, f"{name} is restored as {values[name].dtype}")
        if model_type == "gpt2" and name.endswith(CONV1D):
            values[name] = values[name].T
    require(not left, f"tensors that no weight owns: {sorted(left)[:4]}")
    return values


def write_reference(source: Path, folder: Path, values: dict) -> None:
    """The float model with the restored weights, as a folder."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if "safetensors" not in path.name:
            shutil.copy(path, folder)
    save_file(
        {name: value.contiguous() for name, value in values.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def off(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest logit."""
    require(got.shape == expected.shape and bool(torch.isfinite(got.float()).all()), "not the logits asked for")
    return float((got.float() - expected.float()).abs().max() / expected.float().abs().max())


def load(folder: Path, dtype="auto"):
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=dtype)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        require(not info.get(what), f"from_pretrained: {what} {sorted(map(str, info.get(what) or []))[:4]}")
    return model.eval()


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(torch.tensor([PROMPT])).logits[0]


def steps(values: torch.Tensor, count: float) -> torch.Tensor:
    """The step that divides each token's largest absolute value into `count`, as compressed-tensors 0.20.0 takes it.

    It keeps the first two dimensions, batch and token; of a plain matrix it takes one step for all.
    """
    most = values.abs().amax(tuple(range(2, values.ndim)), keepdim=True)
    return torch.where(most == 0, 1, most / count)


def round_int8(values: torch.Tensor) -> torch.Tensor:
    """W8A8: symmetric, 255 steps."""
    step = steps(values, 127.5)
    return torch.clamp(torch.round(values / step), -128, 127) * step


def round_fp8(values: torch.Tensor) -> torch.Tensor:
    """FP8: the largest value becomes 448."""
    step = steps(values, 448)
    return (values / step).clamp(-448, 448).to(torch.float8_e4m3fn).to(values.dtype) * step


def round_llm(values: torch.Tensor) -> torch.Tensor:
    """LLM.int8: a scale for each token over 127 steps; columns that reach 6 stay as they are."""
    halves = values.half().float()
    outliers = (halves.abs() >= 6).reshape(-1, halves.shape[-1]).any(0)
    inner = halves.masked_fill(outliers, 0)
    scale = inner.abs().amax(-1, keepdim=True) / 127
    return torch.where(outliers, halves, torch.round(inner / scale) * scale).to(values.dtype)


ROUNDING = {"W8A8": round_int8, "FP8": round_fp8, "LLM.int8": round_llm}


def round_inputs(model, loaded, kind: str) -> None:
    """The inputs of the modules that are quantized in `loaded` are rounded in `model` too."""
    count = 0
    for path, module in loaded.named_modules():
        scheme = getattr(module, "quantization_scheme", None)
        if isinstance(module, bitsandbytes.nn.Linear8bitLt) or getattr(scheme, "weights", None) is not None:
            hook = lambda _, arguments: (ROUNDING[kind](arguments[0]),)  # noqa: E731
            model.get_submodule(path).register_forward_pre_hook(hook)
            count += 1
    require(count > 0, "the loaded model has no quantized module")


def check_transformers(out: Path, reference: Path, kind: str) -> tuple:
    """What was found, and the logits of the float model."""
    loaded = load(out)
    plain = load(reference, loaded.dtype)
    got = logits(loaded)
    if kind in ROUNDING:
        round_inputs(plain, loaded, kind)
    expected = logits(plain)
    away = off(got, expected)
    if kind in ("LLM.int8", "awq"):
        require(away <= (GPTQMODEL if kind == "awq" else LLM_INT8), f"logits off by {away:.1e}")
        return f"logits within {away:.1e}", expected
    if kind != "nf4":
        require(torch.equal(got, expected), f"logits off by {away:.1e}")
        return "logits equal", expected
    require(away <= FUSED, f"logits in inference off by {away:.1e}")
    # Repacked weights stay repacked, so the path of training is taken by a model that has not yet inferred.
    training = load(out)
    for module in training.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.train().compute_dtype = plain.dtype
    got = logits(training)
    require(torch.equal(got, expected), f"logits off by {off(got, expected):.1e}")
    return f"logits equal, within {away:.1e} in inference", expected


def mlx_logits(folder: Path) -> torch.Tensor:
    model, _ = mlx_lm.utils.load_model(folder)
    model.set_dtype(mlx.core.float32)
    # Within the smallest vocabulary of all models that are asked.
    tokens = mlx.core.array([[token % 256 for token in PROMPT]])
    return grouped.from_mlx(model(tokens)[0].astype(mlx.core.float32))


def check_mlx(out: Path, reference: Path) -> str:
    """mlx-lm loads the folder, says what it says with the restored weights, and generates a token."""
    away = off(mlx_logits(out), mlx_logits(reference))
    require(away <= MLX_ROUNDING, f"logits off by {away:.1e}")
    model, tokenizer = mlx_lm.load(str(out))
    word = mlx_lm.generate(model, tokenizer, prompt=PROMPT, max_tokens=1)
    require(word.startswith("w"), f"generated {word!r}")
    return f"logits within {away:.1e}, generated {word}"


def check_folder(name: str, title: str, work: Path) -> tuple:
    """What was found, and the expectation for engine.py."""
    recipe, source = RECIPES[title], work / "sources" / name
    out, reference = work / "made" / f"{name}-{title}", work / "references" / f"{name}-{title}"
    out.parent.mkdir(parents=True, exist_ok=True)
    quantize(source, out, recipe)
    check_copied(source, out)
    config = json.loads((out / "config.json").read_text())
    config = config.get("quantization_config") or config["quantization"]
    original, made = read_folder(source), read_folder(out)
    values = restored(original, made, config)
    changed = [key for key in original if values[key] is not original[key]]
    require(bool(changed), "nothing was quantized")
    write_reference(source, reference, values)
    if name.startswith("mixtral") and title in UNREAD_EXPERTS:
        found, expected = "layout only, it does not load such experts", None
    elif recipe.kind == "mlx":
        found, expected = check_mlx(out, reference), None
    else:
        found, expected = check_transformers(out, reference, recipe.kind)
    entry = None
    if recipe.engine and not name.startswith("mixtral"):
        likely = expected[-1].float().log_softmax(-1).tolist()
        entry = {"folder": str(out), "kind": recipe.kind, "log_probabilities": likely}
    return f"{len(changed)} of {len(original)} tensors, {recipe.library}: {found}", entry


def main() -> int:
    work = Path(sys.argv[1])
    chosen, passed, failed, entries = sys.argv[2:], 0, 0, []
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    for name in SOURCES:
        make_source(name, work / "sources" / name)
        for title in RECIPES:
            if chosen and title not in chosen and name not in chosen:
                continue
            try:
                found, entry = check_folder(name, title, work)
                print(f"ok    {name} {title}: {found}", flush=True)
                entries += [entry] if entry else []
                passed += 1
            except (Mismatch, ValueError, RuntimeError, KeyError, ImportError) as problem:
                print(f"FAIL  {name} {title}: {type(problem).__name__}: {problem}", flush=True)
                failed += 1
    (work / "expected.json").write_text(json.dumps({"prompt": PROMPT, "folders": entries}), encoding="utf-8")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
