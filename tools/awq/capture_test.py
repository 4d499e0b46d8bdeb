#!/usr/bin/env python3
"""`capture_activations.py` on tiny random models of transformers, against sums made directly from the model.

The oracle keeps every input of every module: PyTorch's own hooks for Linears, and for the experts of Mixtral the
routing that the model reports and the weights of the checkpoint.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

CAPTURE = Path(__file__).resolve().parent.parent / "capture_activations.py"
SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TOKENS, CONTEXT, BLOCK = 50, 24, 32
# Sums in another order; bfloat16 has 8 bits.
SAME = {torch.float32: 1e-5, torch.bfloat16: 2**-8, torch.int64: 0.0}


def make(folder: Path, class_name: str, settings: dict) -> list:
    """Saves a model and a text; gives the windows of tokens that should be read."""
    model_class = getattr(transformers, class_name)
    torch.manual_seed(4)
    model_class(model_class.config_class(**SIZES, **settings)).save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{number}": number for number in range(SIZES["vocab_size"])}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
    numbers = torch.randint(3, 64, (200,), generator=torch.Generator().manual_seed(5)).tolist()
    (folder / "text.txt").write_text(" ".join(f"w{number}" for number in numbers), encoding="utf-8")
    return [torch.tensor([part]) for part in (numbers[:24], numbers[24:48], numbers[48:50])]


def direct(folder: Path, class_name: str, windows: list) -> dict:
    """Module of the checkpoint -> all rows of its input."""
    model = getattr(transformers, class_name).from_pretrained(folder).eval()
    weights = load_file(folder / "model.safetensors")
    rows = {}

    def keep(name, values):
        rows.setdefault(name, []).append(values.reshape(-1, values.shape[-1]))

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_pre_hook(lambda _, given, name=name: keep(name, given[0]))
        elif type(module).__name__ == "MixtralTopKRouter":
            router = name.replace(".mlp.", ".block_sparse_moe.")
            module.register_forward_pre_hook(lambda _, given, name=router: keep(name, given[0]))
        elif type(module).__name__ == "MixtralExperts":
            prefix = name.replace(".mlp.", ".block_sparse_moe.")

            def experts(_, given, prefix=prefix):
                states, chosen = given[0], given[1]
                for expert in range(4):
                    # Tokens for which it is the first choice, then those for which it is the second.
                    reached = torch.cat([states[chosen[:, rank] == expert] for rank in range(chosen.shape[1])])
                    if len(reached) == 0:
                        continue
                    w1, w3 = (weights[f"{prefix}.{expert}.{part}.weight"] for part in ("w1", "w3"))
                    keep(f"{prefix}.{expert}.w1", reached)
                    keep(f"{prefix}.{expert}.w3", reached)
                    keep(f"{prefix}.{expert}.w2", torch.nn.functional.silu(reached @ w1.T) * (reached @ w3.T))

            module.register_forward_pre_hook(experts)
    with torch.no_grad():
        for window in windows:
            model(window)
    return {name: torch.cat(parts) for name, parts in rows.items()}


def expected(rows: dict, form: str) -> dict:
    made = {}
    for module, x in rows.items():
        if form == "activations":
            made[f"{module}.activations"] = x.bfloat16()
            continue
        made[f"{module}.abs_mean"], made[f"{module}.square_mean"] = x.abs().mean(0), x.square().mean(0)
        made[f"{module}.count"] = torch.tensor([len(x)])
        full = (x.double().T @ x.double() / len(x)).float()
        if form == "gram":
            made[f"{module}.gram"] = full
        elif form == "blocks":
            blocks = [full[i : i + BLOCK, i : i + BLOCK] for i in range(0, x.shape[1], BLOCK)]
            made[f"{module}.gram"] = torch.stack(blocks).bfloat16()
    return made


def compare(made: dict, wanted: dict) -> None:
    assert set(made) == set(wanted), f"names differ: {sorted(set(made) ^ set(wanted))}"
    for name, tensor in wanted.items():
        got = made[name]
        assert got.dtype == tensor.dtype and got.shape == tensor.shape, f"{name}: {got.dtype} {list(got.shape)}"
        off = float((got.double() - tensor.double()).abs().max() / tensor.double().abs().max())
        assert off <= SAME[tensor.dtype], f"{name}: off by {off:.1e}"


def run(folder: Path, *options: str) -> tuple:
    out = folder / "calibration.safetensors"
    command = [sys.executable, CAPTURE, folder, folder / "text.txt", "-o", out, "--tokens", str(TOKENS)]
    command += ["--context", str(CONTEXT), "--block", str(BLOCK), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(out), done.stderr


def check(folder: Path, class_name: str, settings: dict) -> int:
    windows = make(folder, class_name, settings)
    rows = direct(folder, class_name, windows)
    for form in ("channels", "blocks", "gram", "activations"):
        made, _ = run(folder, "--form", form)
        compare(made, expected(rows, form))
        print(f"ok    capture {class_name} {form}: {len(rows)} modules, {len(made)} tensors")
    part = {name: x for name, x in rows.items() if ".1.self_attn." in name}
    owners = {name: x for name, x in part.items() if name.endswith(("q_proj", "o_proj"))}
    made, _ = run(folder, "--form", "gram", "--only", "*.1.self_attn.*", "--share")
    compare(made, expected(owners, "gram"))
    print(f"ok    capture {class_name} one layer, shared: {sorted(owners)}")
    return 5


def check_unreached(folder: Path) -> int:
    """A router that never chooses expert 3: it is named and nothing is made up for it."""
    settings = {"num_local_experts": 4, "num_experts_per_tok": 2}
    windows = make(folder, "MixtralForCausalLM", settings)
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.0.block_sparse_moe.gate.weight"
    weights[name] = torch.zeros_like(weights[name])
    save_file(weights, path, {"format": "pt"})
    rows = direct(folder, "MixtralForCausalLM", windows)
    missing = [i for i in range(4) if f"model.layers.0.block_sparse_moe.experts.{i}.w1" not in rows]
    assert missing, "every expert was reached: the test asks nothing"
    made, said = run(folder, "--form", "channels")
    compare(made, expected(rows, "channels"))
    for expert in missing:
        for part in ("w1", "w2", "w3"):
            module = f"model.layers.0.block_sparse_moe.experts.{expert}.{part}"
            assert f"no token reached {module}\n" in said, f"{module} is not named: {said}"
    print(f"ok    capture names experts without tokens: {missing}")
    return 1


def main() -> int:
    torch.set_num_threads(1)
    passed = 0
    with tempfile.TemporaryDirectory() as work:
        passed += check(Path(work, "llama"), "LlamaForCausalLM", {})
        experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
        passed += check(Path(work, "mixtral"), "MixtralForCausalLM", experts)
        passed += check_unreached(Path(work, "unreached"))
    print(f"{passed} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
