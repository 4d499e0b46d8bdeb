"""Writes the inputs of this folder with the libraries that people use: numpy, zipfile, torch, safetensors.

    python3 Tests/Fixtures/inputs/make.py

Made with numpy 2.4, torch 2.13 and safetensors 0.8. Every archive holds the arrays of `arrays.safetensors`; the tensors
of `*_bf16.safetensors` are what torch makes of the FP8 weights beside them.
"""

import io
import pathlib
import zipfile

import numpy
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent


class Pipe(io.RawIOBase):
    """A stream that cannot seek, as a socket is: zipfile then writes data descriptors."""

    def __init__(self, path):
        self.file = open(path, "wb")

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)


def archives():
    draw = numpy.random.default_rng(1)
    arrays = {
        "layer.0/q.weight": draw.standard_normal((24, 64)).astype("<f4"),
        "layer.0/k.weight": draw.standard_normal((32, 64)).astype("<f2"),
        "größe.weight": draw.standard_normal((8, 128)).astype("<f8"),
        "norm": numpy.ones(64, "<f4"),
        "steps": numpy.arange(6, dtype="<i8").reshape(2, 3),
        "empty": numpy.zeros((0, 4), "<f4"),
    }
    save_arrays(arrays, here / "arrays.safetensors")
    numpy.savez(here / "stored.npz", **arrays)
    numpy.savez_compressed(here / "deflated.npz", **arrays)
    # The same values in the other order and the other byte order, each in some of the members.
    mixed = {name: numpy.asfortranarray(array) for name, array in arrays.items()}
    mixed["layer.0/k.weight"] = mixed["layer.0/k.weight"].astype(">f2", order="F")
    mixed["größe.weight"] = arrays["größe.weight"].astype(">f8")
    mixed["steps"] = arrays["steps"].astype(">i8")
    numpy.savez_compressed(here / "mixed.npz", **mixed)
    for name, method in (("streamed_stored.npz", zipfile.ZIP_STORED), ("streamed_deflated.npz", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(Pipe(here / name), "w", method) as archive:
            for wide, (array, values) in enumerate(arrays.items()):
                with archive.open(array + ".npy", "w", force_zip64=wide % 2 == 1) as member:
                    numpy.lib.format.write_array(member, values, allow_pickle=False)
    numpy.savez(here / "lone.npz", kernel=arrays["layer.0/q.weight"])
    numpy.savez(here / "pickled.npz", weight=numpy.array([{"a": 1}], dtype=object))
    numpy.savez_compressed(here / "bomb.npz", weight=numpy.zeros((1024, 1024), "<f4"))
    # The directory tells of zip64, as it does for archives beyond 4 GiB.
    limit, zipfile.ZIP64_LIMIT = zipfile.ZIP64_LIMIT, 1000
    count, zipfile.ZIP_FILECOUNT_LIMIT = zipfile.ZIP_FILECOUNT_LIMIT, 2
    numpy.savez(here / "zip64.npz", **arrays)
    zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT = limit, count


def fp8():
    torch.manual_seed(2)
    codes = torch.arange(256, dtype=torch.uint8)
    tables = {}
    for name, dtype in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
        tables[name] = codes.clone().view(dtype)
        tables[name + "_bf16"] = codes.view(dtype).to(torch.bfloat16)
    save_file(tables, here / "fp8_codes.safetensors")

    for name, dtype in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
        rows, columns = 136, 160
        stored, restored = {}, {}
        for module in ("a", "b", "lm_head"):
            weight = (torch.randn(rows, columns) * 20).to(dtype)
            stored[module + ".weight"] = weight
            restored[module + ".weight"] = weight.to(torch.bfloat16)
            # `weight_dequant` of DeepSeek-V3's fp8_cast_bf16.py: float32 product, stored as BF16.
            scale = torch.rand(2, 2) * 1e-2 + 1e-5
            if module == "b":
                scale = scale.to(torch.bfloat16)
            stored[module + ".weight_scale_inv"] = scale
            if module == "lm_head":  # left out by its name: both are copied
                restored[module + ".weight"] = weight
                restored[module + ".weight_scale_inv"] = scale
                continue
            spread = scale.float().repeat_interleave(128, 0).repeat_interleave(128, 1)[:rows, :columns]
            restored[module + ".weight"] = (weight.float() * spread).to(torch.bfloat16)
        stored["norm.weight"] = restored["norm.weight"] = torch.ones(columns, dtype=torch.bfloat16)
        save_file(stored, here / f"fp8_{name}.safetensors")
        save_file(restored, here / f"fp8_{name}_bf16.safetensors")
        weight = torch.randn(24, 160).to(dtype)
        save_file({"m.weight": weight}, here / f"fp8_{name}_plain.safetensors")
        save_file({"m.weight": weight.to(torch.bfloat16)}, here / f"fp8_{name}_plain_bf16.safetensors")


archives()
fp8()
