"""Kills of the service and of its workers."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from clients import run_clients
from ledger import Ledger, Lost, everything
from service import Service, ask


def kills(viva: str, folder: Path, ledger: Ledger, count: int, seed: int) -> list[tuple[str, object]]:
    """kill -9 of the whole service at random moments under load."""
    generator = random.Random(seed)
    service = Service(viva, folder / "kills")
    slowest = 0.0
    try:
        for number in range(count):
            slowest = max(slowest, service.start())
            ledger.check(service.port, deep=number % 25 == 0)
            run_clients(ledger, service.port, 6, seed + number, generator.uniform(0.02, 0.8), service.kill)
            if (number + 1) % 20 == 0:
                print(f"{number + 1} kills; {dict(ledger.counts)}", flush=True)
        service.start()
        ledger.check(service.port, deep=True)
        finish_jobs(service, ledger)
        service.stop()
        service.start()
        ledger.check(service.port, deep=True)
        leftovers(viva, service, ledger)
    finally:
        with contextlib.suppress(ProcessLookupError):
            service.kill()
    return [("kill -9 of the service under load", count), *sorted(ledger.counts.items()),
            ("slowest start, seconds", f"{slowest:.2f}")]


def finish_jobs(service: Service, ledger: Ledger) -> None:
    """Every acknowledged job succeeds in the end, with the artifact of an undisturbed service."""
    deadline = time.monotonic() + 300
    for identifier, (weights, recipe) in ledger.jobs.items():
        while True:
            job = ask(service.port, "GET", f"/v1/jobs/{identifier}").json
            if job["state"] not in ("queued", "running"):
                break
            if time.monotonic() > deadline:
                raise Lost(f"job {identifier} does not end: {job}")
            time.sleep(0.05)
        artifact, digest = weights.artifacts[recipe]
        if job["state"] != "succeeded" or job["artifact"] != artifact:
            raise Lost(f"job {identifier} should have made {artifact}: {job}")
        ledger.counts["jobs succeeded"] += 1
    for item in everything(service.port, "/v1/artifacts"):
        ledger.artifacts.setdefault(item["id"], item["digest"])


def leftovers(viva: str, service: Service, ledger: Ledger) -> None:
    """After gc every file belongs to something that is listed, and fsck finds every byte as it should be."""
    run = [viva, "gc", "--data", str(service.data)]
    subprocess.run(run, check=True, capture_output=True)
    checked = subprocess.run([viva, "fsck", "--data", str(service.data)], capture_output=True, text=True)
    if checked.returncode != 0:
        raise Lost(f"fsck: {checked.stdout}{checked.stderr}")
    expected = {
        "artifacts": {item["id"] for item in everything(service.port, "/v1/artifacts")},
        "inputs": {item["id"].removeprefix("sha256:") for item in everything(service.port, "/v1/inputs")},
        "work": {upload.location.rsplit("/", 1)[1] for upload in ledger.uploads},
    }
    for name, wanted in expected.items():
        place = service.data / name
        found = set(os.listdir(place)) if place.exists() else set()
        if name == "work":
            # An upload whose creation was answered to nobody lives until it expires.
            found = {entry for entry in found if ask_upload(service.port, entry) == 404}
            wanted = set()
        if found - wanted:
            raise Lost(f"orphans in {place}: {sorted(found - wanted)}")
        ledger.counts[f"folders in {name}/ accounted for"] += len(wanted)


def ask_upload(port: int, identifier: str) -> int:
    return ask(port, "HEAD", f"/v1/uploads/{identifier}", fields={"Tus-Resumable": "1.0.0"}).status


def workers(viva: str, folder: Path, ledger: Ledger, seed: int) -> list[tuple[str, object]]:
    """kill -9 of worker processes under load: jobs go on, and nobody else notices."""
    service = Service(viva, folder / "workers")
    killed = 0
    try:
        service.start()
        for weights in ledger.pool:
            answer = ask(service.port, "POST", "/v1/inputs", weights.bytes)
            if answer.status not in (200, 201):
                raise Lost(f"POST /v1/inputs: {answer}")
            ledger.inputs[weights.name] = weights

        def hunt() -> None:
            nonlocal killed
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                for pid in service.workers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
                time.sleep(0.5)

        # A client that meets a connection cut off ends; one that is refused wrongly raises.
        run_clients(ledger, service.port, 4, seed, 0.5, hunt)
        for identifier, (weights, recipe) in ledger.jobs.items():
            while (job := ask(service.port, "GET", f"/v1/jobs/{identifier}").json)["state"] in ("queued", "running"):
                time.sleep(0.05)
            if job["state"] == "failed" and job["problem"]["code"] != "worker.crashed":
                raise Lost(f"job {identifier}: {json.dumps(job)}")
            ledger.counts[f"jobs {job['state']}"] += 1
        service.stop()
    finally:
        with contextlib.suppress(ProcessLookupError):
            service.kill()
    counts = ledger.counts
    return [("workers killed under load", killed),
            ("... artifacts, inputs and offsets acknowledged meanwhile, none refused",
             counts["artifacts acknowledged"] + counts["inputs acknowledged"] + counts["offsets acknowledged"]),
            ("... jobs that succeeded all the same", counts["jobs succeeded"]),
            ("... jobs that lost three workers and failed as `worker.crashed`", counts["jobs failed"])]
