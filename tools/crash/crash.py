#!/usr/bin/env python3
"""Kills the real service under load, again and again, and checks every promise after each restart.

    crash.py VIVA [--kills 200] [--seed N] [--only STAGE ...] [--write docs/DURABILITY.md]

Stages: kills (the service), workers (its worker processes), faults (system calls that fail, by strace), full (a small
file system), order (what is durable before an answer). Ends with 1, and says why, at the first promise that is broken.
"""

import argparse
import datetime
import os
import platform
import random
import sys
import tempfile
import time
from pathlib import Path

import faults
import stages
from ledger import Ledger, Lost
from service import Service, ask
from weights import RECIPES, Weights

OPEN, CLOSE = "<!-- crash -->", "<!-- /crash -->"


def prepare(viva: str, folder: Path, count: int) -> list[Weights]:
    """Inputs, and the artifacts that an undisturbed service makes of them."""
    pool = [Weights(seed) for seed in range(count)]
    service = Service(viva, folder / "undisturbed")
    service.start()
    try:
        for weights in pool:
            for recipe in RECIPES:
                answer = ask(service.port, "POST", f"/v1/quantize?{recipe}", weights.bytes)
                if answer.status != 201:
                    raise RuntimeError(f"{recipe}: {answer}")
                weights.artifacts[recipe] = (answer.json["id"], answer.json["digest"])
    finally:
        service.stop()
    return pool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("viva")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", nargs="*", choices=["kills", "workers", "faults", "full", "order"])
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    print(f"seed {options.seed}; {platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}", flush=True)
    began = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory(prefix="viva-crash-", dir=Path(options.viva).parent) as name:
        folder = Path(name)
        pool = prepare(options.viva, folder, 12)
        wanted = options.only or ["kills", "workers", "faults", "full", "order"]
        run = {
            "kills": lambda: stages.kills(options.viva, folder, Ledger(pool), options.kills, options.seed),
            "workers": lambda: stages.workers(options.viva, folder, Ledger(pool), options.seed),
            "faults": lambda: faults.faults(options.viva, folder, pool),
            "full": lambda: faults.full_disk(options.viva, folder, pool),
            "order": lambda: faults.order(options.viva, folder, pool),
        }
        for stage in wanted:
            try:
                rows += run[stage]()
            except Lost as lost:
                print(f"BROKEN in {stage} (seed {options.seed}): {lost}", flush=True)
                return 1
    table = ["| what | count |", "|---|---|", *(f"| {what} | {count} |" for what, count in rows)]
    minutes = (time.monotonic() - began) / 60
    table += ["", f"`make crash`, {datetime.date.today()}, {os.cpu_count()} cores, Linux {platform.release()}, "
                  f"{minutes:.0f} minutes, seed {options.seed}: no promise broken."]
    print("\n".join(table))
    if options.write:
        text = options.write.read_text()
        head, rest = text.split(OPEN)
        options.write.write_text(head + OPEN + "\n" + "\n".join(table) + "\n" + CLOSE + rest.split(CLOSE)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
