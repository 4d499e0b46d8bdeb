#!/usr/bin/env python3
"""GPTQModel 7.7.0 and AutoRound 0.16.1 on the Linears of layers.py, with the same calibration tokens, on the CPU.

    peers.py [--again]        makes .awq-data/layers/peers-*.safetensors; some minutes, most of them AutoRound's

Both quantize whole decoders; neither takes a BERT. So each is given one Linear at a time by its own code:

* GPTQModel: its class `GPTQ`, which its model loop also uses: `add_batch` for each window of 256 tokens, `quantize`.
  4 bits, groups of 128, in four settings: as it comes (symmetric); asymmetric; and asymmetric with columns in the
  order of their activations (desc_act) and scales searched (mse 2.4), once with groups that stay where they are, as in
  every file of ours, once with groups that follow that order: the best of nine settings tried on these layers, and a
  file with `g_idx`, which AWQ's layout cannot hold.
* AutoRound: its public class on a model of one block that holds one Linear, whose embedding is the calibration tokens
  themselves: the loss of the block is the output error of the Linear. 4 bits, groups of 128, asymmetric, 200 steps (its
  default), float32. The 1,000 steps that it calls best gave the one layer that was tried nothing (-0.07 dB).

What is judged is what their files hold: integer codes, integer zeros and scales rounded to float16.
"""

import argparse
import hashlib
import logging
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors.torch import load_file, save_file

import layers

GROUP = 128
# A scale, and a zero of 4 bits, for each group (g_idx, which desc_act needs as well, is not counted).
BITS = 4 + 20 / GROUP
DESCENDING = {"sym": False, "desc_act": True, "act_group_aware": False, "mse": 2.4}
# Name -> (what the table says, settings).
GPTQMODEL = {
    "gptqmodel-default": ("GPTQModel 7.7.0, defaults: symmetric", {"sym": True}),
    "gptqmodel-asym": ("GPTQModel 7.7.0, asymmetric", {"sym": False}),
    "gptqmodel-static": (
        "GPTQModel 7.7.0, asymmetric, desc_act, static groups, mse",
        {**DESCENDING, "static_groups": True},
    ),
    "gptqmodel-best": ("GPTQModel 7.7.0, asymmetric, desc_act with g_idx, mse", DESCENDING),
}
AUTOROUND = {
    "autoround": ("AutoRound 0.16.1, asymmetric, 200 steps", 200),
}
PEERS = {**GPTQMODEL, **AUTOROUND}


def stored(weight: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """`weight`, made of codes on these grids, as a file restores it: the same codes with scales in float16."""
    scale, zero = scales.float()[:, groups], zeros.float()[:, groups]
    codes = torch.round(weight / scale + zero)
    if float(codes.min()) < 0 or float(codes.max()) > 15:
        raise SystemExit(f"codes from {float(codes.min())} to {float(codes.max())}: these are no grids of 4 bits")
    return (codes - zero) * scale.half().float()


def gptqmodel(weight: torch.Tensor, inputs: torch.Tensor, settings: dict) -> torch.Tensor:
    from gptqmodel.quantization.config import QuantizeConfig
    from gptqmodel.quantization.gptq import GPTQ

    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight.clone()
    task = GPTQ(linear, QuantizeConfig(bits=4, group_size=GROUP, **settings))
    task.quantizer.configure(perchannel=True)
    for window in inputs.split(layers.CONTEXT):
        task.add_batch(window[None], None)
    made, scales, zeros, groups, *_ = task.quantize()
    return stored(made.float(), scales, zeros, groups.long())


def lone_model(weight: torch.Tensor, inputs: torch.Tensor) -> tuple:
    """A model of one block with one Linear, and a tokenizer that nobody asks anything."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            self.linear.weight.data = weight.clone()

        def forward(self, hidden_states, **_):
            return self.linear(hidden_states)

    class Lone(PreTrainedModel):
        config_class = PretrainedConfig

        def __init__(self):
            super().__init__(PretrainedConfig())
            self.tokens = torch.nn.Embedding(*inputs.shape)
            self.tokens.weight.data = inputs.clone()
            self.layers = torch.nn.ModuleList([Block()])

        def forward(self, input_ids=None, **_):
            return self.layers[0](self.tokens(input_ids))

    words = Tokenizer(WordLevel({"w": 0}, unk_token="w"))
    return Lone(), PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w")


def autoround(weight: torch.Tensor, inputs: torch.Tensor, steps: int) -> torch.Tensor:
    from auto_round import AutoRound

    model, words = lone_model(weight, inputs)
    numbers = torch.arange(len(inputs)).split(layers.CONTEXT)
    data = [{"input_ids": part[None], "attention_mask": torch.ones_like(part)[None]} for part in numbers]
    settings = {"bits": 4, "group_size": GROUP, "sym": False, "iters": steps, "amp": False, "device_map": "cpu"}
    sizes = {"seqlen": layers.CONTEXT, "nsamples": len(data), "dataset": data}
    made, _ = AutoRound(model, tokenizer=words, enable_torch_compile=False, **settings, **sizes).quantize()
    linear = made.layers[0].linear
    groups = torch.arange(weight.shape[1]) // GROUP
    return stored(linear.weight.detach().float(), linear.scale, linear.zp, groups)


def make(name: str, weights: dict, inputs: dict) -> dict:
    work, settings = (gptqmodel, GPTQMODEL[name][1]) if name in GPTQMODEL else (autoround, AUTOROUND[name][1])
    since = time.process_time()
    made = {module: work(weights[module], inputs[module], settings) for module in layers.MODULES}
    print(f"{name}: {time.process_time() - since:.0f} s of CPU time", file=sys.stderr, flush=True)
    return made


def decoded(files: dict, weights: dict, again: bool = False) -> dict:
    """Name -> (what, bits per weight, module -> restored weight); made once for this calibration and these settings."""
    logging.disable(logging.WARNING)
    inputs, found = None, {}
    for name, (what, settings) in PEERS.items():
        mark = hashlib.sha256(f"{files['activations'].name} {settings}".encode()).hexdigest()[:12]
        path = files["activations"].with_name(f"peers-{name}-{mark}.safetensors")
        if again or not path.exists():
            inputs = inputs or layers.inputs(files["activations"])
            save_file(make(name, weights, inputs), path)
        found[name] = (what, BITS, load_file(path))
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--again", action="store_true", help="even what is there already")
    decoded(layers.files(), layers.weights(), options.parse_args().again)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
