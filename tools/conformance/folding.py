#!/usr/bin/env python3
"""Which operations of a decoder layer scales can be folded into, proved on the models of transformers themselves.

    folding.py [OUT_DIR [NAME ...]]    writes a file for each architecture (default: Tests/Fixtures/folding)

Every architecture of architectures.py that AutoAWQ or llm-compressor have mappings for is built in float32 with random
weights, saved, and folded: each group gets random scales between 1/4 and 4, the rows or the norm in front of it are
divided, the columns of all that read it are multiplied. Of the groups that a file lists is proved

* that they are right: the folded checkpoint, loaded again, gives the same logits within 1e-4 of the largest;
* that they are whole: with any one reader of any one group left out the logits are others.

A variant without grouped attention has values that scales can go into; one with a norm that has a bias has it divided.
"""

import copy
import json
import re
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig

from architectures import GROUPED, MODELS

OUT = Path(__file__).resolve().parent.parent.parent / "Tests" / "Fixtures" / "folding"
TOLERANCE = 1e-4
TOKENS = torch.arange(1, 49).reshape(1, 48) * 29 % 251
# Every expert is asked, so that a rounding cannot choose another one.
ALL_EXPERTS = {"num_experts_per_tok": 4}
UNGROUPED = {"num_key_value_heads": 4}

ATTENTION = [
    ("norm", "input_layernorm", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    ("values", "self_attn.v_proj", ["self_attn.o_proj"]),
]
UP = ("rows", "mlp.up_proj", ["mlp.down_proj"])
GATED = ["mlp.gate_proj", "mlp.up_proj"]
LLAMA = [*ATTENTION, ("norm", "post_attention_layernorm", GATED), UP]
GEMMA2 = [*ATTENTION, ("norm", "pre_feedforward_layernorm", GATED), UP]
GEMMA3 = [ATTENTION[1], ("norm", "pre_feedforward_layernorm", GATED), UP]
PHI3 = [
    ("norm", "input_layernorm", ["self_attn.qkv_proj"]),
    ("values", "self_attn.qkv_proj", ["self_attn.o_proj"]),
    ("norm", "post_attention_layernorm", ["mlp.gate_up_proj"]),
    ("rows", "mlp.gate_up_proj", ["mlp.down_proj"]),
]
COHERE = [("norm", "input_layernorm", [*ATTENTION[0][2], *GATED]), ATTENTION[1], UP]


def experts(block: str, gate: str, up: str, down: str, beside: list) -> list:
    readers = [*beside, rf"{block}.experts.\d+.{gate}", rf"{block}.experts.\d+.{up}"]
    return [
        *ATTENTION,
        ("norm", "post_attention_layernorm", readers),
        *[("rows", f"{block}.experts.{i}.{up}", [f"{block}.experts.{i}.{down}"]) for i in range(4)],
    ]


MIXTRAL = experts("block_sparse_moe", "w1", "w3", "w2", ["block_sparse_moe.gate"])
MOE = experts("mlp", "gate_proj", "up_proj", "down_proj", ["mlp.gate"])
SHARED = experts(
    "mlp", "gate_proj", "up_proj", "down_proj",
    ["mlp.gate", "mlp.shared_expert_gate", "mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"],
) + [("rows", "mlp.shared_expert.up_proj", ["mlp.shared_expert.down_proj"])]  # fmt: skip

# Architectures beside those of architectures.py.
BESIDE = {
    "seed_oss": ("SeedOssForCausalLM", "seed_oss", {**GROUPED, "head_dim": 32}),
    "cohere2": ("Cohere2ForCausalLM", "cohere2", GROUPED),
}
KNOWN = {**MODELS, **BESIDE}
# File name -> (the architecture, what its configuration has otherwise, its groups).
FOLDED = {
    "llama": ("llama", {}, LLAMA),
    "llama_ungrouped": ("llama", UNGROUPED, LLAMA),
    "llama_biases": ("llama", {**UNGROUPED, "attention_bias": True, "mlp_bias": True}, LLAMA),
    "mistral": ("mistral", {}, LLAMA),
    "qwen2": ("qwen2", {}, LLAMA),
    "qwen2_ungrouped": ("qwen2", UNGROUPED, LLAMA),
    "qwen3": ("qwen3", {}, LLAMA),
    "qwen3_wide": ("qwen3", {**UNGROUPED, "head_dim": 64}, LLAMA),
    "granite": ("granite", {}, LLAMA),
    "smollm3": ("smollm3", {}, LLAMA),
    "stablelm": ("stablelm", {}, LLAMA),
    "gemma": ("gemma", UNGROUPED, LLAMA),
    "gemma2": ("gemma2", UNGROUPED, GEMMA2),
    "gemma3_text": ("gemma3_text", UNGROUPED, GEMMA3),
    "gemma3": ("gemma3", {}, GEMMA3),
    "phi3": ("phi3", {}, PHI3),
    "phi3_ungrouped": ("phi3", UNGROUPED, PHI3),
    "cohere": ("cohere", UNGROUPED, COHERE),
    "cohere2": ("cohere2", UNGROUPED, COHERE),
    "seed_oss": ("seed_oss", {}, LLAMA),
    "mixtral": ("mixtral", {**ALL_EXPERTS, **UNGROUPED}, MIXTRAL),
    "phimoe": ("phimoe", {}, MIXTRAL),
    "olmoe": ("olmoe", ALL_EXPERTS, MOE),
    "qwen3_moe": ("qwen3_moe", ALL_EXPERTS, MOE),
    "qwen3_moe_dense": ("qwen3_moe", {**ALL_EXPERTS, "mlp_only_layers": [0]}, MOE + LLAMA[2:]),
    "qwen2_moe": ("qwen2_moe", ALL_EXPERTS, SHARED),
}


def build(name: str, more: dict, folder: Path):
    """Saves the model in float32, its norms and biases random as well, and returns its tensors."""
    class_name, model_type, settings = KNOWN[name]
    settings = copy.deepcopy(settings)
    (settings["text_config"] if "text_config" in settings else settings).update(more)
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **settings)
    getattr(transformers, class_name)._from_config(config, dtype=torch.float32).save_pretrained(folder)
    file = folder / "model.safetensors"
    with safe_open(file, "pt") as weights:
        tensors = {key: weights.get_tensor(key) for key in weights.keys()}
    for key, tensor in tensors.items():
        if tensor.dim() == 1:
            tensors[key] = tensor + 0.3 * torch.randn(tensor.shape)
        elif "embed" not in key:
            tensors[key] = tensor * 4
    return tensors


def groups(tensors: dict, rules: list, model_type: str) -> list:
    """The groups of all layers, by the names of their tensors; those whose values several heads share are left out."""
    found = []
    layers = sorted({m[1] for key in tensors if "vision" not in key and (m := re.match(r"(.*layers\.\d+\.)", key))})
    for layer in layers:
        for kind, before, patterns in rules:
            wanted = re.compile(re.escape(layer) + "(" + "|".join(patterns) + r")\.weight")
            readers = sorted(key for key in tensors if wanted.fullmatch(key))
            before_name = f"{layer}{before}.weight"
            if not readers or before_name not in tensors:
                continue
            columns, rows = tensors[readers[0]].shape[1], tensors[before_name].shape[0]
            if kind == "values" and rows not in (columns, 3 * columns):
                continue
            found.append({
                "kind": "norm" if kind == "norm" else "rows",
                "adds_one": kind == "norm" and model_type.startswith("gemma"),
                "before": before_name,
                "bias": before_name.replace(".weight", ".bias") if before_name.replace(".weight", ".bias") in tensors
                else None,
                "columns": columns,
                "readers": readers,
            })  # fmt: skip
    return found


def folded(tensors: dict, found: list, spared: tuple = ()) -> dict:
    """The tensors with random scales in every group; `spared` readers keep their columns."""
    torch.manual_seed(1)
    made = dict(tensors)
    for group in found:
        scales = 4 ** (2 * torch.rand(group["columns"]) - 1)
        for key in filter(None, (group["before"], group["bias"])):
            one = 1 if group["adds_one"] else 0
            rows = made[key].clone()
            part = (rows[-len(scales):] + one).T / scales
            rows[-len(scales):] = part.T - one
            made[key] = rows
        for key in group["readers"]:
            made[key] = made[key] if key in spared else made[key] * scales
    return made


@torch.no_grad()
def logits(folder: Path, tensors: dict) -> torch.Tensor:
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    model = getattr(transformers, config["architectures"][0]).from_pretrained(folder, dtype=torch.float32)
    return model.eval()(input_ids=TOKENS).logits


def off(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def prove(title: str) -> tuple:
    name, more, rules = FOLDED[title]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tensors = build(name, more, folder)
        found = groups(tensors, rules, KNOWN[name][1])
        expected = logits(folder, tensors)
        apart = off(logits(folder, folded(tensors, found)), expected)
        assert apart <= TOLERANCE, f"{title}: {apart}"
        first = [group for group in found if "layers.0." in group["before"]]
        for group in first:
            for reader in group["readers"]:
                missed = off(logits(folder, folded(tensors, found, (reader,))), expected)
                assert missed > 10 * TOLERANCE, f"{title}: without {reader} only {missed}"
    listed = [{"name": key, "shape": list(value.shape)} for key, value in tensors.items()]
    return apart, {"model_type": KNOWN[name][1], "tensors": listed, "groups": found}


def main() -> int:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.disable_progress_bar()
    for title in sys.argv[2:] or FOLDED:
        apart, described = prove(title)
        print(f"{title:18} {len(described['groups']):3} groups, logits {apart:.1e} apart", flush=True)
        parts = [f'"model_type": {json.dumps(described["model_type"])}']
        for key in ("tensors", "groups"):
            rows = ",\n".join("    " + json.dumps(row) for row in described[key])
            parts.append(f'"{key}": [\n{rows}\n  ]')
        (out / f"{title}.json").write_text("{\n  " + ",\n  ".join(parts) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
