#!/usr/bin/env python3
"""What reaches the Linears of a model when it reads a text, as calibration data for `viva`.

    capture_activations.py MODEL TEXT -o calibration.safetensors [--form gram] [--tokens 8192]

MODEL is a folder that transformers loads, TEXT a file in UTF-8. The model runs on the CPU. Packages: torch,
transformers, safetensors. For every Linear of a numbered layer, experts included, under its name in the checkpoint:

    form         tensors of a module                                        an 8B model (Llama 3) takes
    channels     abs_mean, square_mean F32 [K]; count I64 [1]               10 MB
    blocks       the same, and gram BF16 [K/g, g, g] (g: --block, 128)      330 MB
    gram         the same, and gram F32 [K, K]                              39 GB, 33 GB with --share
    activations  activations BF16 [tokens, K]                               20 GB for 8,192 tokens, 14 GB with --share

K is the number of inputs. abs_mean and square_mean are means of |x| and x² over the `count` tokens, gram is the mean of
x xᵀ. Everything but activations is summed up window by window: memory does not grow with the number of tokens. A
module that some windows do not reach (an expert) gets the tokens routed to it alone; what no token reached is named on
standard error and left out. --only takes a part of the modules, so that large forms can be made in parts.
"""

import argparse
import fnmatch
import json
import re
import struct
import sys
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from torch.overrides import TorchFunctionMode

FORMS = ("channels", "blocks", "gram", "activations")
TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}


class Inputs:
    """The sums over the tokens that reached one or several Linears; `parts` are the rows where they are wanted."""

    def __init__(self, columns: int, form: str, block: int, dtype: torch.dtype):
        self.form, self.block, self.dtype = form, block, dtype
        self.count, self.parts = 0, []
        self.sums = torch.zeros(2, columns, dtype=torch.float64)
        self.gram = None
        if form == "gram":
            self.gram = torch.zeros(columns, columns)
        elif form == "blocks" and columns % block == 0:
            self.gram = torch.zeros(columns // block, block, block)

    def add(self, rows: torch.Tensor) -> None:
        rows = rows.detach().reshape(-1, rows.shape[-1])
        if self.form == "activations":
            self.parts.append(rows.to(self.dtype))
            self.count += len(rows)
            return
        rows = rows.float()
        self.sums += torch.stack([rows.abs().sum(0, dtype=torch.float64), rows.square().sum(0, dtype=torch.float64)])
        if self.form == "gram":
            self.gram.addmm_(rows.T, rows)
        elif self.gram is not None:
            groups = rows.reshape(len(rows), -1, self.block).permute(1, 0, 2)
            self.gram.baddbmm_(groups.mT, groups)
        self.count += len(rows)

    def tensors(self) -> dict:
        if self.form == "activations":
            return {"activations": torch.cat(self.parts)}
        means = (self.sums / self.count).float()
        made = {"abs_mean": means[0], "square_mean": means[1], "count": torch.tensor([self.count])}
        if self.gram is not None:
            gram = self.gram.div_(self.count)
            made["gram"] = gram if self.form == "gram" else gram.bfloat16()
        self.gram = None
        return made


class Checkpoint:
    """Which weights of the checkpoint a weight in memory is made of.

    transformers joins weights (the experts of a layer, gate and up) and renames them. A weight whose name and shape
    are the checkpoint's is that one; of any other, rows are looked up by their values, one checkpoint tensor after
    another until all of its rows are found.
    """

    def __init__(self, folder: Path):
        self.shapes, self.files = {}, {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                for name in file.keys():
                    shape = file.get_slice(name).get_shape()
                    if len(shape) == 2 and name.endswith(".weight"):
                        self.shapes[name], self.files[name] = tuple(shape), path
        self.first_rows = {}

    @staticmethod
    def print_of(row: torch.Tensor) -> tuple:
        return tuple(row.float().tolist())

    def read_first_rows(self, dtype: torch.dtype) -> None:
        for name, path in self.files.items():
            with safe_open(path, "pt") as file:
                row = self.print_of(file.get_slice(name)[0:1][0].to(dtype))
            self.first_rows.setdefault(row, []).append(name)

    def modules(self, name: str, weight: torch.Tensor) -> list:
        """Names of modules in the checkpoint; empty when the weight's rows are not found there."""
        if self.shapes.get(name + ".weight") == tuple(weight.shape):
            return [name]
        if not self.first_rows:
            self.read_first_rows(weight.dtype)
        found, row = [], 0
        while row < len(weight):
            names = self.first_rows.get(self.print_of(weight[row].detach()), [])
            names = [n for n in names if n.removesuffix(".weight") not in found]
            if not names:
                return []
            # Equal first rows stand for several modules only in models that nobody has trained: the nearest name wins.
            found.append(names[0].removesuffix(".weight"))
            row += self.shapes[names[0]][0]
        return found


class Capture(TorchFunctionMode):
    """Sees every call of torch's `linear` and hands its inputs to the modules that its weight belongs to."""

    def __init__(self, model: torch.nn.Module, checkpoint: Checkpoint, chosen: argparse.Namespace):
        super().__init__()
        self.checkpoint, self.chosen = checkpoint, chosen
        self.inputs, self.owners, self.modules, self.unknown = {}, {}, {}, set()
        # A weight of experts has three dimensions; each expert's call takes one slice of it.
        self.weights = {}
        for name, parameter in model.named_parameters():
            name = name.removesuffix(".weight")
            if parameter.ndim == 2:
                self.weights[parameter.data_ptr()] = name
            elif parameter.ndim == 3:
                self.weights.update({parameter[i].data_ptr(): f"{name}.{i}" for i in range(len(parameter))})
        self.last = (None, None)

    def __torch_function__(self, called, types, arguments=(), keywords=None):
        keywords = keywords or {}
        if called is torch.nn.functional.linear:
            given = dict(zip(("input", "weight"), arguments)) | keywords
            with torch._C.DisableTorchFunction():
                self.see(given["input"], given["weight"])
        return called(*arguments, **keywords)

    def is_wanted(self, module: str) -> bool:
        return bool(re.search(r"(^|\.)\d+\.", module)) and fnmatch.fnmatchcase(module, self.chosen.only)

    def see(self, rows: torch.Tensor, weight: torch.Tensor) -> None:
        name = self.weights.get(weight.data_ptr())
        if name is None or rows.numel() == 0:
            return
        if name not in self.modules:
            self.modules[name] = [m for m in self.checkpoint.modules(name, weight) if self.is_wanted(m)]
            if not self.modules[name] and self.is_wanted(name):
                self.unknown.add(name)
        for module in self.modules[name]:
            # q, k and v are given the same tensor: its sums are made once and belong to all of them.
            seen, owner = self.last
            same = owner if seen is rows else module
            if self.owners.setdefault(module, same) != same:
                raise SystemExit(f"{module} shares its input with {self.owners[module]} in some windows only")
            if same == module:
                if module not in self.inputs:
                    self.inputs[module] = Inputs(rows.shape[-1], self.chosen.form, self.chosen.block, self.chosen.dtype)
                self.inputs[module].add(rows)
                self.last = (rows, module)


def write(path: Path, owners: dict, inputs: dict, share: bool) -> None:
    """A safetensors file, tensor after tensor: what several modules share is in memory once."""
    shown = {owner: inputs[owner].tensors() for owner in inputs}
    leaves = [
        (f"{module}.{leaf}", tensor)
        for module, owner in sorted(owners.items())
        if module == owner or not share
        for leaf, tensor in sorted(shown[owner].items())
    ]
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in leaves:
        end = offset + tensor.nbytes
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in leaves:
            file.write(tensor.contiguous().view(torch.uint8).numpy().data)


def load(folder: Path) -> torch.nn.Module:
    config = transformers.AutoConfig.from_pretrained(folder)
    model_class = getattr(transformers, (config.architectures or ["AutoModel"])[0])
    model = model_class.from_pretrained(folder, dtype="auto")
    if model._can_set_experts_implementation():
        # One expert after another, each by its own `linear`: other ways multiply all experts' weights in one call.
        model.set_experts_implementation("eager")
    return model.eval()


def windows(folder: Path, text: str, tokens: int, context: int) -> list:
    words = transformers.AutoTokenizer.from_pretrained(folder)
    cut = {"max_length": context, "truncation": True, "return_overflowing_tokens": True, "padding": False}
    # A long text is not cut into tokens to its end. Where a piece of it ends is never seen: more tokens are asked of it.
    size = 8 * (tokens + context)
    while True:
        found = words(text[:size], **cut)["input_ids"]
        if size >= len(text) or sum(map(len, found)) > tokens + context:
            break
        size *= 2
    made, left = [], tokens
    for window in found:
        made.append(window[:left])
        left -= len(made[-1])
        if left == 0:
            return made
    raise SystemExit(f"the text has {tokens - left} tokens; --tokens asks for {tokens}")


@torch.no_grad()
def capture(chosen: argparse.Namespace) -> Capture:
    model = load(chosen.model)
    seen = Capture(model, Checkpoint(chosen.model), chosen)
    limit = getattr(model.config, "max_position_embeddings", chosen.context)
    text = chosen.text.read_text(encoding="utf-8")
    with seen:
        for window in windows(chosen.model, text, chosen.tokens, min(chosen.context, limit)):
            model(input_ids=torch.tensor([window]))
            seen.last = (None, None)
    return seen


def parse(arguments: list) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", type=Path)
    options.add_argument("text", type=Path)
    options.add_argument("-o", "--output", type=Path, required=True)
    options.add_argument("--form", choices=FORMS, default="blocks")
    options.add_argument("--tokens", type=int, default=8192, help="how many are read (default 8192; best 2-4 times K)")
    options.add_argument("--context", type=int, default=512, help="tokens of a window (default 512)")
    options.add_argument("--block", type=int, default=128, help="size of the Gram's blocks: the group size")
    options.add_argument("--dtype", choices=("bfloat16", "float16"), default="bfloat16", help="of activations")
    options.add_argument("--share", action="store_true", help="write inputs that modules share once, under the first")
    options.add_argument("--only", default="*", metavar="GLOB", help="modules to capture, e.g. 'model.layers.7.*'")
    chosen = options.parse_args(arguments)
    if min(chosen.tokens, chosen.context, chosen.block) < 1:
        options.error("--tokens, --context and --block are at least 1")
    chosen.dtype = getattr(torch, chosen.dtype)
    return chosen


def main(arguments: list) -> int:
    chosen = parse(arguments)
    seen = capture(chosen)
    for name in sorted(seen.unknown):
        print(f"left out: {name} is no weight of the checkpoint", file=sys.stderr)
    expected = [name.removesuffix(".weight") for name in seen.checkpoint.shapes]
    for module in expected:
        if module not in seen.owners and seen.is_wanted(module):
            print(f"left out: no token reached {module}", file=sys.stderr)
    for module, inputs in seen.inputs.items():
        if chosen.form == "blocks" and inputs.gram is None:
            columns = inputs.sums.shape[1]
            print(f"channels only: {module} has {columns} inputs, no multiple of {chosen.block}", file=sys.stderr)
    if not seen.inputs:
        raise SystemExit("no module was captured")
    write(chosen.output, seen.owners, seen.inputs, chosen.share)
    modules, size = len(seen.owners), chosen.output.stat().st_size
    print(f"{chosen.output}: {modules} modules, {chosen.tokens} tokens, {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
