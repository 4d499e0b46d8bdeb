#!/usr/bin/env python3
"""Every architecture of architectures.py, quantized as a folder and loaded with `from_pretrained`.

    loading.py WORK_DIR [NAME ...]    the executable is $VIVA; names of architectures narrow the run

The same with mlx-lm, where it loads the float model that transformers saved.

Of each folder: every key that the model wants is there and no other, and the output is bit for bit that of the float
model whose weights are replaced with what the library restores from ours.
"""

import json
import sys
from pathlib import Path

import bitsandbytes
import torch
import transformers

import architectures
import folders
from layouts import Mismatch, require

RECIPES = {
    "nf4": ["--method", "nf4"],
    "w4a16": ["--method", "int4", "--group-size", "32"],
    "fp8": ["--method", "fp8"],
    "mlx": ["--method", "int4", "--format", "mlx"],
}
# What transformers 5.23.0 itself cannot load or has nothing to load for, whatever the checkpoint holds.
UNLOADABLE = {
    # Wants a checkpoint with an expert for each Linear as soon as it is quantized, not the joined ones that it saves.
    "llama4_text": ("nf4", "w4a16", "fp8"),
    # _init_weights touches `weight`, which a packed Linear does not have: AttributeError.
    "gpt_bigcode": ("w4a16",),
    "falcon": ("w4a16", "nf4"),  # And bitsandbytes finds no plain Linear in it.
    "mamba2": ("w4a16",),
    "t5": ("w4a16",),
    # No Linear at all: its Conv1D is known to bitsandbytes alone.
    "gpt2": ("w4a16", "fp8"),
}
# mlx-lm restores DeepSeek's kv_b_proj when it loads, splits it in two, and quantizes the halves again.
MLX_TWICE = 0.2
TOKENS = torch.tensor([[1, 17, 33, 99, 250, 111]])


def load(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    model_class = getattr(transformers, config["architectures"][0])
    model, info = model_class.from_pretrained(folder, output_loading_info=True, dtype="auto")
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        require(not info.get(what), f"from_pretrained: {what} {sorted(map(str, info.get(what) or []))[:4]}")
    for module in model.eval().modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.train().compute_dtype = model.dtype
    return model


@torch.no_grad()
def output(model) -> torch.Tensor:
    if model.config.model_type == "whisper":
        sound = torch.sin(torch.arange(16 * 3000).reshape(1, 16, 3000) / 100).to(model.dtype)
        return model(input_features=sound, decoder_input_ids=TOKENS)[0]
    decoder = {"decoder_input_ids": TOKENS} if model.config.is_encoder_decoder else {}
    return model(input_ids=TOKENS, **decoder)[0]


def is_read_by_mlx(source: Path) -> bool:
    try:
        folders.mlx_logits(source)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError):
        return False
    return True


def check(name: str, title: str, work: Path) -> str:
    source, out, reference = (work / part / f"{name}-{title}" for part in ("sources", "made", "references"))
    architectures.build(name, "cpu").save_pretrained(source)
    if title == "mlx" and not is_read_by_mlx(source):
        return "mlx-lm does not load the float model"
    out.parent.mkdir(parents=True, exist_ok=True)
    folders.quantize(source, out, folders.Recipe(RECIPES[title], title))
    config = json.loads((out / "config.json").read_text())
    settings = config.get("quantization_config") or config["quantization"]
    original, made = folders.read_folder(source), folders.read_folder(out)
    values = folders.restored(original, made, settings, config["model_type"])
    changed = [key for key in original if values[key] is not original[key]]
    require(bool(changed), "nothing was quantized")
    folders.write_reference(source, reference, values)
    if title == "mlx":
        away = folders.off(folders.mlx_logits(out), folders.mlx_logits(reference))
        tolerance = MLX_TWICE if name.startswith("deepseek") else folders.MLX_ROUNDING
        require(away <= tolerance, f"output off by {away:.1e}")
        return f"{len(changed)} of {len(original)} tensors, output within {away:.1e}"
    loaded, plain = load(out), load(reference)
    # Some models compute in another order once they know themselves quantized (Jamba).
    plain.config._is_quantized = True
    if title == "fp8":
        folders.round_inputs(plain, loaded, "FP8")
    got, expected = output(loaded), output(plain)
    require(torch.equal(got, expected), f"output off by {folders.off(got, expected):.1e}")
    return f"{len(changed)} of {len(original)} tensors, output equal"


def main() -> int:
    work, chosen = Path(sys.argv[1]), sys.argv[2:]
    transformers.logging.set_verbosity_error()
    passed = failed = 0
    for name in architectures.MODELS:
        for title in RECIPES:
            if (chosen and name not in chosen) or title in UNLOADABLE.get(name, ()):
                continue
            try:
                print(f"ok    {name} {title}: {check(name, title, work)}", flush=True)
                passed += 1
            except (Mismatch, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as problem:
                print(f"FAIL  {name} {title}: {type(problem).__name__}: {problem}", flush=True)
                failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
