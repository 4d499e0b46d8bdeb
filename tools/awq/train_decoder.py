#!/usr/bin/env python3
"""Trains a small Llama on the CPU and gives it outlier channels, as large models have them.

    train_decoder.py FOLDER [--steps 2000]

6.2 million parameters: 6 layers, 256 channels, 4 heads, MLP of 768, 2,048 byte-level BPE tokens trained on the same
text, which is Django's documentation (corpus.py). One thread, bfloat16 matrix products (autocast), about 15 minutes of
CPU time on a core with AVX-512; the loss is printed every 100 steps, the perplexity on held-out files at the end.

Outlier channels: in each layer a few channels of what a norm, v_proj and up_proj give are multiplied by 8, 16 or 32
and the columns that read them divided by the same. Powers of two: the function is the same to the last bit, while
activations and weights have the unevenness that AWQ was made for. Real models grow it in training; six million
parameters do not.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import corpus

VOCABULARY = 2048
CONTEXT = 256
BATCH = 8
RATE, WARM_UP, DECAY = 3e-3, 100, 0.1
# Channels that are made outliers, in each place of each layer.
OUTLIERS = 6


def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(
        corpus.documentation(held_out=False).split("\n\n"), vocab_size=VOCABULARY, special_tokens=["<end>"]
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, eos_token="<end>", bos_token="<end>")
    wrapped.save_pretrained(folder)
    return wrapped


def tokens(words: PreTrainedTokenizerFast, held_out: bool) -> torch.Tensor:
    return torch.tensor(words(corpus.documentation(held_out))["input_ids"])


def train(model: LlamaForCausalLM, text: torch.Tensor, steps: int) -> None:
    decayed = [p for p in model.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(2)
    since, total = time.monotonic(), 0.0
    for step in range(steps):
        progress = step / steps
        rate = RATE * min(1, (step + 1) / WARM_UP) * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(0, len(text) - CONTEXT, (BATCH,), generator=generator)
        batch = torch.stack([text[start : start + CONTEXT] for start in starts.tolist()])
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item()
        if step % 100 == 99:
            took = time.monotonic() - since
            print(f"step {step + 1}/{steps}: loss {total / 100:.3f}, {took:.0f} s", file=sys.stderr, flush=True)
            total = 0.0


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, text: torch.Tensor, windows: int) -> float:
    losses = [
        model(chunk[None], labels=chunk[None]).loss.item() for chunk in text[: windows * CONTEXT].split(CONTEXT)
    ]
    return math.exp(sum(losses) / len(losses))


@torch.no_grad()
def give_outliers(model: LlamaForCausalLM) -> None:
    generator = torch.Generator().manual_seed(3)

    def spread(given: list, read: list, size: int) -> None:
        """`given`: vectors or matrices whose entries or rows are multiplied; `read`: matrices that undo it."""
        channels = torch.randperm(size, generator=generator)[:OUTLIERS]
        factors = torch.tensor([8.0, 16.0, 32.0])[torch.randint(0, 3, (OUTLIERS,), generator=generator)]
        for weight in given:
            weight[channels] *= factors[:, None] if weight.ndim == 2 else factors
        for weight in read:
            weight[:, channels] /= factors

    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        size = model.config.hidden_size
        readers = [part.weight for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
        spread([layer.input_layernorm.weight], readers, size)
        spread([attention.v_proj.weight], [attention.o_proj.weight], size)
        spread([layer.post_attention_layernorm.weight], [mlp.gate_proj.weight, mlp.up_proj.weight], size)
        spread([mlp.up_proj.weight], [mlp.down_proj.weight], model.config.intermediate_size)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--steps", type=int, default=2000)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer(chosen.folder)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    before = perplexity(model, tokens(words, held_out=True), 32)
    train(model, tokens(words, held_out=False), chosen.steps)
    model.eval()
    test = tokens(words, held_out=True)
    trained = perplexity(model, test, 32)
    give_outliers(model)
    spread = perplexity(model, test, 32)
    model.save_pretrained(chosen.folder)
    figures = {"steps": chosen.steps, "untrained": before, "trained": trained, "with_outliers": spread}
    (chosen.folder / "training.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
