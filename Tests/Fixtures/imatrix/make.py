"""Writes imatrix.gguf as llama.cpp's llama-imatrix lays it out, and beside it what gguf's own reader finds in it.

    pip install gguf==0.19.0 numpy && python make.py

Shapes and names: IMatrixCollector::save_imatrix of tools/imatrix/imatrix.cpp (one matrix for a Linear, one for each
expert of a mixture; the second expert saw no token).
"""

import json
from pathlib import Path

import gguf
import numpy as np

here = Path(__file__).parent
random = np.random.default_rng(5)
writer = gguf.GGUFWriter(here / "imatrix.gguf", arch="", use_temp_file=False)
writer.kv_data[0].clear()  # llama-imatrix names no architecture
writer.add_type("imatrix")
writer.add_array("imatrix.datasets", ["wiki.train.raw", "größe.txt"])
writer.add_uint32("imatrix.chunk_count", 3)
writer.add_uint32("imatrix.chunk_size", 512)

linears = {"attn_q": 64, "attn_k": 64, "attn_output": 32, "ffn_up": 64, "ffn_down": 96}
for layer in range(2):
    for name, columns in sorted(linears.items()):
        writer.add_tensor(f"blk.{layer}.{name}.weight.in_sum2", random.chisquare(4, columns).astype(np.float32) * 1536)
        writer.add_tensor(f"blk.{layer}.{name}.weight.counts", np.array([1536], np.float32))
writer.add_tensor("blk.2.ffn_gate_exps.weight.in_sum2", random.chisquare(4, (3, 64)).astype(np.float32) * 700)
writer.add_tensor("blk.2.ffn_gate_exps.weight.counts", np.array([[700], [0], [836]], np.float32))
writer.add_tensor("blk.0.ffn_up.weight.in_sum", random.standard_normal(64).astype(np.float32))  # newer files
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

reader = gguf.GGUFReader(here / "imatrix.gguf")
assert reader.fields["general.type"].contents() == "imatrix"
tensors = {
    tensor.name: {
        "dims": [int(n) for n in tensor.shape],
        "offset": int(tensor.data_offset),
        "values": [float(x) for x in np.asarray(tensor.data).reshape(-1)],
    }
    for tensor in reader.tensors
}

# What gguf's converter calls the modules of each family. It merges experts under the names that stand second here.
attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
dense = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
mixtral = {f"block_sparse_moe.experts.7.{w}": f"layers.3.feed_forward.experts.{w}" for w in ("w1", "w2", "w3")}
merged = {f"mlp.experts.7.{w}_proj": f"model.layers.3.mlp.experts.{w}_proj" for w in ("gate", "up", "down")}
shared = [f"mlp.shared_expert.{w}_proj" for w in ("gate", "up", "down")]
plain = {name: f"model.layers.3.{name}" for name in attention + dense}
families = {
    "LLAMA": plain | mixtral,
    "QWEN2": plain,
    "QWEN3": plain,
    "GEMMA": plain,
    "GEMMA2": plain,
    "GEMMA3": plain,
    "PHI3": {name: f"model.layers.3.{name}" for name in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj",
                                                         "mlp.down_proj")},
    "QWEN2MOE": plain | merged | {name: f"model.layers.3.{name}" for name in shared},
    "QWEN3MOE": plain | merged,
}
names = {}
for family, modules in families.items():
    mapping = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family], 4)
    known = {name: mapping.get_name(source) for name, source in modules.items()}
    names[family] = {f"model.layers.3.{name}": found for name, found in known.items() if found}
(here / "imatrix.json").write_text(json.dumps({"names": names, "tensors": tensors}, sort_keys=True) + "\n")
