#!/usr/bin/env python3
"""Which weights the libraries themselves quantize, architecture by architecture.

    architectures.py [OUT_DIR]        writes a file for each (default: Tests/Fixtures/architectures)

Each model is built from a tiny configuration, once on the CPU to see the names that `save_pretrained` gives its
tensors, once on the meta device for each library, whose own code then replaces the modules that it quantizes:

    bitsandbytes        the quantizer of transformers for BitsAndBytesConfig(load_in_4bit=True), weights in float
    compressed-tensors  apply_quantization_config with targets ["Linear"], ignore ["lm_head"], pack-quantized; and the
                        experts that transformers restores from packed weights before it joins them
    mlx                 quantize_model of mlx-lm (affine, groups of 64); null where it cannot load the checkpoint

transformers 5 renames, splits and merges tensors between its modules and a checkpoint, and so does mlx-lm. What became
of what is found by marking every tensor with a number of its own and reading the numbers at the other end.
"""

import copy
import json
import sys
import tempfile
from pathlib import Path

import mlx.core
import mlx.nn
import mlx_lm.utils
import torch
import transformers
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from mlx.utils import tree_flatten
from safetensors import safe_open
from transformers import AutoConfig, BitsAndBytesConfig, CompressedTensorsConfig
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import revert_weight_conversion
from transformers.integrations.compressed_tensors import CompressedTensorsDequantize
from transformers.modeling_utils import remove_tied_weights_from_state_dict
from transformers.quantizers import AutoHfQuantizer

OUT = Path(__file__).resolve().parent.parent.parent / "Tests" / "Fixtures" / "architectures"
# Marks lie so far apart that a constant which a conversion adds (the norms of gemma) does not blur them.
MARK_STEP = 1000.0

SIZES = {
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
GPT2_SIZES = {"vocab_size": 256, "n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_inner": 512}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128}
LATENT = {
    **SIZES,
    "num_key_value_heads": 4,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_rope_head_dim": 32,
    "qk_nope_head_dim": 64,
    "v_head_dim": 64,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "first_k_dense_replace": 1,
}
YARN = {"type": "yarn", "factor": 1.0, "original_max_position_embeddings": 128, "mscale_all_dim": 0}
VISION = {"num_hidden_layers": 2, "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}

# File name -> (class, model type, configuration). The file name is the model type but for variants of one.
MODELS = {
    "llama": ("LlamaForCausalLM", "llama", GROUPED),
    "llama_tied": ("LlamaForCausalLM", "llama", {**GROUPED, "tie_word_embeddings": True}),
    "mistral": ("MistralForCausalLM", "mistral", GROUPED),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", {**GROUPED, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", {**GROUPED, "head_dim": 32, "tie_word_embeddings": True}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        "qwen2_moe",
        {**GROUPED, **EXPERTS, "shared_expert_intermediate_size": 128},
    ),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "qwen3_moe", {**GROUPED, **EXPERTS, "head_dim": 32}),
    "qwen3_next": (
        "Qwen3NextForCausalLM",
        "qwen3_next",
        {
            **GROUPED,
            **EXPERTS,
            "head_dim": 32,
            "shared_expert_intermediate_size": 128,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_key_head_dim": 32,
            "linear_value_head_dim": 32,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
    ),
    "mixtral": ("MixtralForCausalLM", "mixtral", {**GROUPED, "num_local_experts": 4}),
    "phimoe": ("PhimoeForCausalLM", "phimoe", {**GROUPED, "num_local_experts": 4}),
    "olmoe": ("OlmoeForCausalLM", "olmoe", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "granitemoe": ("GraniteMoeForCausalLM", "granitemoe", {**GROUPED, "num_local_experts": 4}),
    "gpt_oss": (
        "GptOssForCausalLM",
        "gpt_oss",
        {**GROUPED, "head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 64},
    ),
    "llama4_text": (
        "Llama4ForCausalLM",
        "llama4_text",
        {**GROUPED, "head_dim": 32, "intermediate_size_mlp": 256, "num_local_experts": 4, "moe_layers": [1]},
    ),
    "deepseek_v2": ("DeepseekV2ForCausalLM", "deepseek_v2", {**LATENT, "n_group": 1, "topk_group": 1}),
    "deepseek_v3": ("DeepseekV3ForCausalLM", "deepseek_v3", {**LATENT, "n_group": 2, "topk_group": 1}),
    "gemma": ("GemmaForCausalLM", "gemma", {**GROUPED, "head_dim": 32}),
    "gemma2": ("Gemma2ForCausalLM", "gemma2", {**GROUPED, "head_dim": 32}),
    "gemma3_text": ("Gemma3ForCausalLM", "gemma3_text", {**GROUPED, "head_dim": 32}),
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        "gemma3",
        {
            "text_config": {**GROUPED, "head_dim": 32},
            "vision_config": {**VISION, "image_size": 28, "patch_size": 14},
            "mm_tokens_per_image": 4,
            "image_token_index": 255,
        },
    ),
    "qwen2_vl": (
        "Qwen2VLForConditionalGeneration",
        "qwen2_vl",
        {
            "text_config": {
                **GROUPED,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
            },
            "vision_config": {"depth": 2, "embed_dim": 128, "hidden_size": 128, "num_heads": 4, "mlp_ratio": 2},
        },
    ),
    "phi": ("PhiForCausalLM", "phi", SIZES),
    "phi3": ("Phi3ForCausalLM", "phi3", GROUPED),
    "gpt2": ("GPT2LMHeadModel", "gpt2", {**GPT2_SIZES, "n_ctx": 128}),
    "gpt_neox": ("GPTNeoXForCausalLM", "gpt_neox", SIZES),
    "gptj": ("GPTJForCausalLM", "gptj", {**GPT2_SIZES, "rotary_dim": 16}),
    "gpt_bigcode": ("GPTBigCodeForCausalLM", "gpt_bigcode", GPT2_SIZES),
    "opt": ("OPTForCausalLM", "opt", {**SIZES, "ffn_dim": 256, "word_embed_proj_dim": 64}),
    "bloom": ("BloomForCausalLM", "bloom", {"vocab_size": 256, "hidden_size": 128, "n_layer": 2, "n_head": 4}),
    "falcon": ("FalconForCausalLM", "falcon", SIZES),
    "mpt": (
        "MptForCausalLM",
        "mpt",
        {"vocab_size": 256, "d_model": 128, "n_layers": 2, "n_heads": 4, "max_seq_len": 128, "expansion_ratio": 2},
    ),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2", GROUPED),
    "stablelm": ("StableLmForCausalLM", "stablelm", GROUPED),
    "cohere": ("CohereForCausalLM", "cohere", GROUPED),
    "olmo2": ("Olmo2ForCausalLM", "olmo2", GROUPED),
    "granite": ("GraniteForCausalLM", "granite", GROUPED),
    "nemotron": ("NemotronForCausalLM", "nemotron", GROUPED),
    "glm4": ("Glm4ForCausalLM", "glm4", {**GROUPED, "head_dim": 32}),
    "smollm3": ("SmolLM3ForCausalLM", "smollm3", GROUPED),
    "mamba2": (
        "Mamba2ForCausalLM",
        "mamba2",
        {
            "vocab_size": 256,
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "state_size": 16,
            "head_dim": 32,
            "num_heads": 8,
            "n_groups": 1,
            "intermediate_size": 256,
        },
    ),
    "jamba": (
        "JambaForCausalLM",
        "jamba",
        {
            **GROUPED,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_dt_rank": 8,
        },
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "t5",
        {
            "vocab_size": 256,
            "d_model": 128,
            "d_kv": 32,
            "d_ff": 256,
            "num_layers": 2,
            "num_heads": 4,
            "feed_forward_proj": "gated-gelu",
            "decoder_start_token_id": 0,
        },
    ),
    "bert": ("BertForMaskedLM", "bert", SIZES),
    "bert_model": ("BertModel", "bert", SIZES),
    "whisper": (
        "WhisperForConditionalGeneration",
        "whisper",
        {
            "vocab_size": 256,
            "d_model": 128,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 256,
            "decoder_ffn_dim": 256,
            "num_mel_bins": 16,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
    ),
}


def build(name: str, device: str, dtype: torch.dtype = torch.bfloat16):
    class_name, model_type, settings = MODELS[name]
    config = AutoConfig.for_model(model_type, **copy.deepcopy(settings))
    torch.manual_seed(0)
    with torch.device(device):
        return getattr(transformers, class_name)._from_config(config, dtype=dtype)


def saved(name: str, folder: str) -> tuple:
    """config.json and the tensors of a saved checkpoint."""
    build(name, "cpu").save_pretrained(folder)
    config = json.loads((Path(folder) / "config.json").read_text())
    with safe_open(Path(folder) / "model.safetensors", "pt") as file:
        slices = {tensor: file.get_slice(tensor) for tensor in sorted(file.keys())}
        tensors = [
            {"name": tensor, "shape": part.get_shape(), "dtype": part.get_dtype()} for tensor, part in slices.items()
        ]
    return config, tensors


def mark(number: int, like: torch.Tensor) -> torch.Tensor:
    return torch.full(like.shape, MARK_STEP * (number + 1), dtype=torch.float32)


def marks(values: torch.Tensor) -> set:
    """The numbers of the tensors that these values came from."""
    return {int(number) - 1 for number in torch.round(values.float() / MARK_STEP).unique()}


def checkpoint_names(name: str, tensors: list) -> dict:
    """Checkpoint tensor -> the names of the parameters that it loads into."""
    model = build(name, "cpu", torch.float32)
    own = dict(model.state_dict())
    for key in model._keys_to_ignore_on_save or []:
        own.pop(key, None)
    own = remove_tied_weights_from_state_dict(own, model)
    parameters = list(own)
    marked = revert_weight_conversion(model, {key: mark(number, own[key]) for number, key in enumerate(parameters)})
    assert set(marked) == {tensor["name"] for tensor in tensors}, f"{name}: other names than save_pretrained's"
    return {key: {parameters[number] for number in marks(values)} for key, values in marked.items()}


def checkpoint_weights(sources: dict, modules: set) -> list:
    """The checkpoint tensors that load into the weights of these modules."""
    chosen = []
    for tensor, parameters in sources.items():
        inside = {parameter for parameter in parameters if parameter.removesuffix(".weight") in modules}
        if inside:
            assert inside == parameters, f"{tensor} is quantized in part"
            chosen.append(tensor)
    return sorted(chosen)


def bitsandbytes_modules(name: str) -> set:
    import bitsandbytes

    model = build(name, "meta")
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    AutoHfQuantizer.from_config(config, pre_quantized=False).preprocess_model(model, device_map={"": "cpu"})
    return {path for path, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)}


def tensors_weights(name: str, sources: dict) -> list:
    """The checkpoint tensors that transformers wants quantized: Linears, and experts that it restores, then joins.

    An expert in float would not load: the converter that joins the experts collects packed weights alone.
    """
    model = build(name, "meta")
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 64, "symmetric": True}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    settings = {"config_groups": groups, "ignore": ["lm_head"], "format": "pack-quantized"}
    quantizer = AutoHfQuantizer.from_config(CompressedTensorsConfig(**settings), pre_quantized=True)
    quantizer.validate_environment()
    converters = [
        converter
        for converter in get_model_conversion_mapping(model, hf_quantizer=quantizer)
        if any(isinstance(step, CompressedTensorsDequantize) for step in getattr(converter, "operations", []))
    ]
    apply_quantization_config(model, QuantizationConfig(**settings))
    modules = {
        path
        for path, module in model.named_modules()
        if getattr(getattr(module, "quantization_scheme", None), "weights", None) is not None
    }
    joined = {
        tensor
        for tensor in sources
        if any(converter.rename_source_key(tensor + "_packed")[1] is not None for converter in converters)
    }
    return sorted(joined.union(checkpoint_weights(sources, modules)))


def mlx_weights(config: dict, tensors: list):
    """The checkpoint tensors that mlx-lm quantizes; None where it cannot load such a checkpoint."""
    try:
        model_class, args_class = mlx_lm.utils._get_classes(config)
    except ValueError:
        return None
    # mlx-lm 0.32.2 wants some settings under the names and in the places where transformers 4 wrote them.
    older = {**config.get("rope_parameters", {}), "rotary_emb_base": 10000, "rotary_pct": 0.25}
    older["num_experts"] = config.get("num_local_experts")
    if config["model_type"] == "deepseek_v2":
        older["rope_scaling"] = YARN
    model = model_class(args_class.from_dict({**older, **config}))
    names = [tensor["name"] for tensor in tensors]
    weights = {
        tensor["name"]: mlx.core.full(tensor["shape"], MARK_STEP * (number + 1), mlx.core.float32)
        for number, tensor in enumerate(tensors)
    }
    weights = model.sanitize(weights) if hasattr(model, "sanitize") else weights
    if set(weights) != {path for path, _ in tree_flatten(model.parameters())}:
        return None
    model, _ = mlx_lm.utils.quantize_model(model, dict(config), 64, 4)
    leaves = tree_flatten(model.leaf_modules(), is_leaf=lambda value: isinstance(value, mlx.nn.Module))
    modules = {path for path, module in leaves if hasattr(module, "bits")}
    chosen = set()
    for path, array in weights.items():
        if path.removesuffix(".weight") in modules:
            found = mlx.core.round(array / MARK_STEP).flatten().tolist()
            chosen |= {names[int(number) - 1] for number in set(found)}
    return sorted(chosen)


def describe(name: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        config, tensors = saved(name, folder)
    sources = checkpoint_names(name, tensors)
    return {
        "model_type": config["model_type"],
        "config": config,
        "tensors": tensors,
        "quantized": {
            "bitsandbytes_nf4": checkpoint_weights(sources, bitsandbytes_modules(name)),
            "compressed-tensors": tensors_weights(name, sources),
            "mlx": mlx_weights(config, tensors),
        },
    }


def text(described: dict) -> str:
    """JSON with a line for each tensor."""
    rows = ",\n    ".join(json.dumps(tensor) for tensor in described["tensors"])
    lists = ",\n    ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in described["quantized"].items())
    return (
        f'{{\n  "model_type": {json.dumps(described["model_type"])},\n  "config": {json.dumps(described["config"])},\n'
        f'  "tensors": [\n    {rows}\n  ],\n  "quantized": {{\n    {lists}\n  }}\n}}\n'
    )


def main() -> int:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        described = describe(name)
        (out / f"{name}.json").write_text(text(described), encoding="utf-8")
        counts = {library: names and len(names) for library, names in described["quantized"].items()}
        print(f"{name}: {len(described['tensors'])} tensors, quantized {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
