#!/usr/bin/env python3
"""The service beside nginx and Hummingbird, all on this machine in one run, medians of alternated runs, as Markdown.

    bench_server.py --viva EXECUTABLE [--hummingbird EXECUTABLE] [--runs 3] [--mebibytes 1024] [--write FILE]
                    [--only WORD]

Needs nginx, wrk and h2load. Every server is started here, on a free loopback port, with its files in TMPDIR.
"""

import argparse
import collections
import datetime
import os
import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import load
from peers import Viva, certificate, hummingbird, nginx

OPEN, CLOSE = "<!-- bench-server -->", "<!-- /bench-server -->"
NF4, REFERENCE = "method=nf4", "method=nf4&mode=reference"
CROWD = 10_000
Goal = collections.namedtuple("Goal", "text against factor", defaults=(None, None))


class Bench:
    """What is measured: each case has a name, a server and a function that gives a figure and the CPU it took."""

    def __init__(self, chosen, work: Path):
        certificate(work)
        self.uploads = load.Uploads(chosen.mebibytes)
        self.short = load.Uploads(min(128, chosen.mebibytes))
        self.viva = Viva(chosen.viva, work)
        self.secure = Viva(chosen.viva, work, tls=True)
        self.nginx = nginx(work)
        self.peers = {"viva": self.viva, "nginx": self.nginx}
        if chosen.hummingbird:
            self.peers["Hummingbird"] = hummingbird(chosen.hummingbird, work)
        self.running = [*self.peers.values(), self.secure]

    def cases(self):
        yield from self.small()
        yield from self.plain_bodies()
        yield from self.secure_bodies()
        for name, peer in self.peers.items():
            query = NF4 if peer is self.viva else None
            yield "p99", name, lambda p=peer, q=query: load.latency_beside_uploads(p, self.short, q, 3)

    def small(self):
        for connections in (32, 256):
            for name, peer in self.peers.items():
                yield f"small {connections}", name, lambda p=peer, c=connections: load.small_requests(p, c, 3)

    def plain_bodies(self):
        yield "stages", "stages", lambda: load.stages(self.uploads)
        for name, peer in self.peers.items():
            yield "upload", name, lambda p=peer: self.uploads.send(p, "plain")
        yield "upload", "nginx, 16 KiB", lambda: self.uploads.send(self.nginx, "default")
        yield "NF4", "viva", lambda: self.uploads.send(self.viva, "plain", NF4)
        yield "NF4 reference", "viva", lambda: self.uploads.send(self.viva, "plain", REFERENCE)
        yield "INT8", "viva", lambda: self.uploads.send(self.viva, "plain", "method=int8")
        for name, peer in self.peers.items():
            query = "method=int8" if peer is self.viva else None
            length = self.uploads if query else load.Uploads(self.uploads.length // load.MEBI // 4)
            path = length.keep(peer, "plain", query, "/download")
            yield "download", name, lambda p=peer, at=path: load.download(p, "plain", at, 4)

    def secure_bodies(self):
        for name, peer in {"viva": self.secure, "nginx": self.nginx}.items():
            yield "TLS upload", name, lambda p=peer: self.uploads.send(p, "tls")
        yield "TLS NF4", "viva", lambda: self.uploads.send(self.secure, "tls", NF4)
        kept = load.Uploads(self.uploads.length // load.MEBI // 4)
        for name, peer, query in (("viva", self.secure, "method=int8"), ("nginx", self.nginx, None)):
            path = (self.uploads if query else kept).keep(peer, "tls", query, "/download")
            yield "TLS download", name, lambda p=peer, at=path: load.download(p, "tls", at, 4)

    def stop(self) -> None:
        for peer in self.running:
            peer.stop()


def measure(bench: Bench, chosen) -> dict:
    found = collections.defaultdict(list)
    for name, peer in bench.peers.items():
        if not chosen.only or chosen.only in "crowd":
            found["crowd", name].append(load.idle_crowd(peer, CROWD, 3))
    cases = [case for case in bench.cases() if not chosen.only or chosen.only in case[0]]
    for number in range(chosen.runs):
        for what, who, work in cases:
            found[what, who].append(work())
            if not chosen.quiet:
                first, second = found[what, who][-1]
                print(f"{number + 1}: {what}, {who}: {first:.1f} ({second:.2f})", file=sys.stderr)
    for name, peer in bench.peers.items():
        found["after", name].append((peer.resident(), 0))
    return {key: tuple(map(statistics.median, zip(*values))) for key, values in found.items()}


class Table:
    """The figures beside the goals."""

    HEAD = ["| what | viva | nginx | Hummingbird | of nginx | of Hummingbird | goal | |",
            "|---|---:|---:|---:|---:|---:|---|---|"]

    def __init__(self, figures: dict):
        self.figures = figures
        self.lines = list(self.HEAD)

    def get(self, what: str, who: str, index: int = 0):
        pair = self.figures.get((what, who))
        return pair[index] if pair else None

    def row(self, title: str, what: str, goals: list[Goal], index: int = 0, form: str = "{:,.0f}", peers=None) -> None:
        """One line; `peers` names another case to compare with."""
        ours = self.get(what, "viva", index)
        if ours is None:
            return
        others = [self.get(peers or what, who, index) for who in ("nginx", "Hummingbird")]
        shown = [form.format(value) if value is not None else "" for value in (ours, *others)]
        ratios = [f"{ours / value:.2f}" if value else "" for value in others]
        met = [goal for goal in goals if goal.against is not None]
        verdict = "" if not met else "met" if all(self.holds(ours, goal) for goal in met) else "**missed**"
        text = "; ".join(goal.text for goal in goals)
        self.lines.append(f"| {title} | {' | '.join([*shown, *ratios])} | {text} | {verdict} |")

    @staticmethod
    def holds(ours: float, goal: Goal) -> bool:
        return ours >= goal.factor * goal.against if goal.factor > 0 else ours <= goal.against

    def goals(self, what: str, nginx: float, hummingbird: float | None = None) -> list[Goal]:
        made = []
        for name, factor in (("nginx", nginx), ("Hummingbird", hummingbird)):
            if factor and self.get(what, name):
                made.append(Goal(f"≥ {factor} of {name}", self.get(what, name), factor))
        return made

    def fill(self) -> None:
        for connections in (32, 256):
            what = f"small {connections}"
            self.row(f"small requests a second, {connections} connections", what, self.goals(what, 0.9, 2))
            self.row("... CPU of the server for one, µs", what, [], index=1, form="{:.1f}")
        self.row("upload, MB/s", "upload", self.goals("upload", 2, 1.5))
        self.row("... CPU, s/GB", "upload", [], index=1, form="{:.2f}")
        hashing, receiving = self.figures.get(("stages", "stages"), (0, 0))
        slowest = min(hashing, receiving)
        for title, what in (("NF4", "NF4"), ("NF4, `mode=reference`", "NF4 reference"), ("INT8", "INT8")):
            goals = self.goals("upload", 2) if what == "NF4" else []
            share = Goal("≥ 85 % of the slowest stage", slowest, 0.85)
            ours = self.get(what, "viva") or 0
            reached = f" ({100 * ours / slowest:.0f} % of the slowest stage)" if slowest else ""
            self.row(f"upload and {title}, MB/s{reached}", what, [*goals, share], peers="upload")
            self.row("... CPU, s/GB", what, [], index=1, form="{:.2f}", peers="upload")
        self.row("download, MB/s", "download", self.goals("download", 0.9))
        self.row("... CPU, s/GB", "download", [], index=1, form="{:.2f}")
        self.row("TLS upload, MB/s", "TLS upload", self.goals("TLS upload", 1))
        self.row("TLS upload and NF4, MB/s", "TLS NF4", [], peers="TLS upload")
        self.row("TLS download, MB/s", "TLS download", [])
        self.row("p99 of small requests beside 8 uploads, ms", "p99", [Goal("≤ 10", 10, -1)], form="{:.1f}")
        self.row("... uploads meanwhile, MB/s", "p99", [], index=1)
        self.row(f"RSS with {CROWD:,} idle connections, MiB", "crowd", [Goal("≤ 20", 20, -1)], form="{:.1f}")
        self.row("... requests a second beside them, 32 connections", "crowd", [], index=1)
        self.row("RSS after all of this, MiB", "after", [], form="{:.1f}")

    def text(self) -> str:
        self.fill()
        lines = self.lines
        default = self.get("upload", "nginx, 16 KiB")
        if default:
            lines += ["", f"nginx with its default body buffer of 16 KiB takes uploads at {default:,.0f} MB/s; the "
                      "table has it with 1 MiB."]
        if ("stages", "stages") in self.figures:
            hashing, receiving = self.figures["stages", "stages"]
            lines += ["", f"Stages in the same run: SHA-256 {hashing:,.0f} MB/s, loopback receive {receiving:,.0f} MB/s."]
        return "\n".join(lines) + "\n"


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores of {model}"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--viva", required=True)
    options.add_argument("--hummingbird")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--mebibytes", type=int, default=1024)
    options.add_argument("--only", help="measure only what has this word in its name")
    options.add_argument("--quiet", action="store_true")
    options.add_argument("--write", metavar="FILE")
    chosen = options.parse_args()
    work = Path(tempfile.mkdtemp(prefix="bench-server-"))
    bench = None
    try:
        bench = Bench(chosen, work)
        table = Table(measure(bench, chosen)).text()
    finally:
        if bench:
            bench.stop()
        shutil.rmtree(work)
    day = datetime.datetime.now(datetime.timezone.utc).date()
    made = (f"`make bench-server` on {day}, {machine()}, shared with the load; {chosen.mebibytes} MiB an upload, medians "
            f"of {chosen.runs} runs:\n\n{table}")
    sys.stdout.write(made)
    if chosen.write:
        text = Path(chosen.write).read_text(encoding="utf-8")
        before, rest = text.split(OPEN)
        Path(chosen.write).write_text(f"{before}{OPEN}\n{made}{CLOSE}{rest.split(CLOSE)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
