#!/usr/bin/env python3
"""Has vLLM load the folders that folders.py made and generate a token.

    engine.py WORK_DIR        after `folders.py WORK_DIR`

vLLM computes on the CPU, in the folder's dtype, with its own kernels for each format. The logarithms of the
probabilities that it gives to the likeliest tokens must be those of transformers with our restored weights in the same
dtype (W8A8 and FP8: with activations rounded to 8 bits as well), within TOLERANCES: two steps of a bfloat16 logit
between 2 and 4 where weights alone are quantized; more where an activation's rounding may fall the other way in every
module, by 1/254 of a token's largest value (W8A8) or 1/16 of a value (FP8). Scales or codes read in another order move
them by 1 or more. The token it chooses is the likeliest, or one within the tolerance of it.

bitsandbytes is no longer a part of vLLM but a plugin, vllm-bnb-plugin; LLM.int8 rounds activations to 8 bits.

Mixtures of experts are left out: the CPU build of vLLM 0.32.0 has no kernels for quantized experts.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

TOLERANCES = {"exact": 1 / 32, "nf4": 1 / 32, "awq": 1 / 32, "LLM.int8": 3 / 32, "W8A8": 3 / 32, "FP8": 3 / 16}
SHOWN = 5


def generate(folder: str, prompt: list) -> tuple:
    """The token, and the logarithms of the likeliest tokens' probabilities."""
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=folder,
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=64,
        max_num_seqs=1,
        disable_log_stats=True,
    )
    wish = SamplingParams(max_tokens=1, temperature=0, logprobs=SHOWN, detokenize=False)
    (answer,) = engine.generate({"prompt_token_ids": prompt}, wish, use_tqdm=False)
    (said,) = answer.outputs
    return said.token_ids[0], {token: entry.logprob for token, entry in said.logprobs[0].items()}


def check(entry: dict, prompt: list) -> str:
    token, given = generate(entry["folder"], prompt)
    expected, tolerance = entry["log_probabilities"], TOLERANCES[entry["kind"]]
    off = max(abs(expected[candidate] - value) for candidate, value in given.items())
    assert off <= tolerance, f"off by {off:.3f}: {given}, expected {[expected[candidate] for candidate in given]}"
    assert max(expected) - expected[token] <= tolerance, f"chose {token}, likeliest is {expected.index(max(expected))}"
    return f"generated token {token}, log-probabilities within {off:.3f}"


def main() -> int:
    work = Path(sys.argv[1])
    told = json.loads((work / "expected.json").read_text())
    passed = failed = 0
    for entry in told["folders"]:
        title = Path(entry["folder"]).name
        try:
            print(f"ok    vLLM {title}: {check(entry, told['prompt'])}", flush=True)
            passed += 1
        except Exception as problem:  # vLLM raises what it likes; each folder is one verdict
            print(f"FAIL  vLLM {title}: {type(problem).__name__}: {problem}", flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
