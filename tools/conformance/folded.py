#!/usr/bin/env python3
"""Whole models with AWQ's scales folded in, from activations to logits.

    folded.py WORK_DIR [NAME ...]     the executable is $VIVA; names of architectures narrow the run

Tiny random models with a few loud channels are saved in small shards, so that norms and the Linears behind them lie in
different files. What reaches their Linears is captured, `viva quantize --method awq --calibration` makes the folder. Of
each is required:

* from_pretrained (gptqmodel) finds every key it wants and no other;
* its logits are those of a float model with the weights that AutoAWQ's formula restores from ours, within 1e-2 of the
  largest: gptqmodel's kernel for the CPU adds up in float16, in another order;
* these weights give logits closer to the original model's than the same codes without scales do (round to nearest);
* embeddings, the head and the norms of heads are the source's bytes; what was folded into keeps type and shape.

Experts are for vLLM alone: transformers 5.23 reads no AWQ experts, so of Mixtral the restored weights are judged.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig

import folders
import layouts
from check import take_layer
from layouts import Mismatch, require

SIZES = {
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUP = 32
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 4}
MODELS = {
    "llama": ("LlamaForCausalLM", {"tie_word_embeddings": False}),
    "llama-gqa": ("LlamaForCausalLM", {"num_key_value_heads": 2}),
    "mistral": ("MistralForCausalLM", {"num_key_value_heads": 2}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 64, "tie_word_embeddings": True}),
    "gemma": ("GemmaForCausalLM", {"head_dim": 32}),
    "gemma2": ("Gemma2ForCausalLM", {"head_dim": 32}),
    "gemma3_text": ("Gemma3ForCausalLM", {"head_dim": 32}),
    "phi3": ("Phi3ForCausalLM", {}),
    "mixtral": ("MixtralForCausalLM", EXPERTS),
}
TOKENS = torch.randint(3, 256, (4, 128), generator=torch.Generator().manual_seed(5))
FOLDED_NORMS = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm")


def make_source(name: str, folder: Path):
    """A model whose norms make a few channels loud, in shards of 150 kB."""
    class_name, settings = MODELS[name]
    torch.manual_seed(3)
    config = AutoConfig.for_model(name.split("-")[0], **{**SIZES, **settings})
    model = getattr(transformers, class_name)._from_config(config, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1 and key.endswith("layernorm.weight"):
                loud = torch.where(torch.arange(len(parameter)) % 29 == 7, 12.0, 0.0)
                parameter.add_((0.2 * torch.randn(len(parameter)) + loud).to(parameter.dtype))
            elif parameter.dim() == 2 and "embed" not in key:
                parameter.mul_(4)
    model.save_pretrained(folder, max_shard_size="150KB")
    return model


@torch.no_grad()
def capture(model, file: Path) -> None:
    """The inputs of every Linear, in float32; of experts, which see every token here, those of the layer's block."""
    seen = {}

    def keep(name):
        def hook(module, arguments):
            seen[f"{name}.activations"] = arguments[0].float().reshape(-1, arguments[0].shape[-1]).contiguous().clone()
            return None

        return hook

    hooks = [
        module.register_forward_pre_hook(keep(name))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name
    ]
    blocks = {
        name: module.register_forward_pre_hook(keep(name))
        for name, module in model.named_modules()
        if type(module).__name__ == "MixtralSparseMoeBlock"
    }
    model(TOKENS)
    for hook in [*hooks, *blocks.values()]:
        hook.remove()
    for name in blocks:
        inputs = seen.pop(f"{name}.activations")
        experts = model.get_submodule(name).experts
        for index in range(experts.gate_up_proj.shape[0]):
            gate, up = (inputs @ experts.gate_up_proj[index].float().T).chunk(2, -1)
            place = f"{name.removesuffix('.mlp')}.block_sparse_moe.experts.{index}"
            for part in ("w1", "w3"):
                seen[f"{place}.{part}.activations"] = inputs.clone()
            seen[f"{place}.w2.activations"] = torch.nn.functional.silu(gate) * up
    save_file(seen, file)


def quantize(source: Path, out: Path, *options: str) -> None:
    command = [os.environ["VIVA"], "quantize", str(source), "--method", "awq", "--group-size", str(GROUP)]
    made = subprocess.run([*command, *options, "-o", str(out)], capture_output=True, text=True)
    require(made.returncode == 0, made.stderr.strip()[-400:])


def restored(source: dict, made: dict) -> dict:
    """The source's tensors as a reader has them from the folder; everything in it must belong to one."""
    values, left = {}, dict(made)
    for name, original in source.items():
        if name not in left:
            layer = take_layer(left, name.removesuffix("weight"), "awq")
            require(set(layer) == {"qweight", "qzeros", "scales"}, f"{name}: {sorted(layer)}")
            values[name] = layouts.awq_dequantize(layer, original.shape, GROUP).float()
            continue
        values[name] = left.pop(name)
        require(values[name].shape == original.shape, f"{name} is {list(values[name].shape)}")
        # Biases of Linears are float16 in this format.
        require(values[name].dtype == original.dtype or name.endswith(".bias"), f"{name} is {values[name].dtype}")
        if name.split(".")[-2] not in FOLDED_NORMS and not name.endswith((".bias", "gate.weight")):
            layouts.same_tensors({name: values[name]}, {name: original})
    require(not left, f"tensors that no weight owns: {sorted(left)[:4]}")
    return values


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(TOKENS).logits.float()


def reference(source: Path, folder: Path, values: dict, dtype=torch.float32):
    folders.write_reference(source, folder, values)
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    return folders.load(folder, dtype)


def lost(got: torch.Tensor, expected: torch.Tensor) -> float:
    """‖y − ŷ‖² / ‖y‖² of centred logits."""
    got, expected = (values - values.mean(-1, keepdim=True) for values in (got, expected))
    return float((got - expected).square().sum() / expected.square().sum())


def check(name: str, work: Path) -> str:
    paths = {part: work / part / name for part in ("source", "fold", "nearest", "fold-float", "nearest-float", "half")}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    model = make_source(name, paths["source"])
    shards = len(list(paths["source"].glob("*.safetensors")))
    data = work / f"{name}.safetensors"
    capture(model, data)
    target = ["--target", "vllm"] if name == "mixtral" else []
    quantize(paths["source"], paths["fold"], "--calibration", str(data), "--rounding", "nearest", *target)
    quantize(paths["source"], paths["nearest"], "--calibration", "none", *target)
    source = folders.read_folder(paths["source"])
    values = {part: restored(source, folders.read_folder(paths[part])) for part in ("fold", "nearest")}
    expected = logits(folders.load(paths["source"], torch.float32))
    errors = {
        part: lost(logits(reference(paths["source"], paths[f"{part}-float"], values[part])), expected)
        for part in values
    }
    require(errors["fold"] < errors["nearest"], f"scales made it worse: {errors}")
    told = f"{shards} shards, output error {errors['fold']:.2e}, rounded to nearest {errors['nearest']:.2e}"
    if name == "mixtral":
        return told
    config = json.loads((paths["fold"] / "config.json").read_text())["quantization_config"]
    require(config["quant_method"] == "awq" and config["group_size"] == GROUP, f"config {config}")
    loaded = folders.load(paths["fold"])
    apart = folders.off(
        logits(loaded), logits(reference(paths["source"], paths["half"], values["fold"], loaded.dtype))
    )
    require(apart <= folders.GPTQMODEL, f"gptqmodel is {apart:.1e} apart")
    return f"{told}, gptqmodel {apart:.1e} apart"


def main() -> int:
    work, names = Path(sys.argv[1]), sys.argv[2:] or list(MODELS)
    failed = 0
    for name in names:
        try:
            print(f"{name:12} {check(name, work)}", flush=True)
        except Mismatch as mismatch:
            failed += 1
            print(f"{name:12} FAILED: {mismatch}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
