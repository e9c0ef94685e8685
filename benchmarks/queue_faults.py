"""Claim: under SIGKILLs no acknowledged job is lost and none ends twice; plain Celery loses some.

    python -m benchmarks.queue_faults --jobs 4000 --kills 60 --seed 1

Kills busy workers, and in between their pool processes, the broker and the API; then reads the
history of every job that was acknowledged with 202. `--plain` runs plain Celery instead.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles

import httpx
import psutil

from benchmarks.plain_celery import VISIBILITY_S, make_app
from deepsmile.broker import Broker
from deepsmile.store.database import Database
from deepsmile.store.upkeep import totals
from deepsmile.wire import ENDED
from tests.history import judge, recoveries
from tests.making import make_bundle
from tests.service import ROOT, RunningService, wait_until

LEASE_S, SWEEP_S = 5.0, 1.0
EVERY_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    (plain if options.plain else ours)(options.jobs, options.kills, random.Random(options.seed))


def ours(jobs: int, kills: int, dice: random.Random) -> None:
    """DeepSMILE's queue: broker, worker and API, all killed."""
    with tempfile.TemporaryDirectory() as folder:
        make_bundle(Path(folder))
        with RunningService(
            Path(folder),
            worker=("-m", "tests.fake_worker"),
            lease_s=LEASE_S,
            heartbeat_s=1.0,
            sweep_s=SWEEP_S,
            max_attempts=kills + 1,
            retry_pause_s=1.0,
        ) as service:
            campaign(service, jobs, kills, dice)


def campaign(service: RunningService, jobs: int, kills: int, dice: random.Random) -> None:
    database = Database(service.settings.database)
    started = time.time()
    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(send, service, jobs)
        killed = kill_busy(service, database, kills, dice)
        acknowledged = sending.result()
    wait_until(lambda: ended(database) >= len(acknowledged), EVERY_S, 0.5)
    verdict = judge(service.settings.database, acknowledged)
    found = recoveries(service.settings.database, acknowledged, killed["worker"])
    counts = totals(database)
    took_s = time.time() - started
    print(f"deepsmile: {jobs} jobs, {len(acknowledged)} acknowledged, {took_s:.0f} s")
    print("  killed:", ", ".join(f"{name} {len(at)}" for name, at in killed.items()))
    print("  ends:", ", ".join(f"{state} {counts.by_state[state]}" for state in ENDED))
    print(f"  lost {len(verdict.lost)}, ended twice {len(verdict.ended_twice)}")
    print(f"  attempts lost: {counts.losses}; lease {LEASE_S:g} s, sweep {SWEEP_S:g} s")
    if len(found) > 1:
        print("  kill -> waiting again:", spread([recovery.waiting_s for recovery in found]))
        print("  kill -> claimed again:", spread([recovery.claimed_s for recovery in found]))
    database.close()


def spread(seconds: list[float]) -> str:
    cuts = quantiles(seconds, n=20, method="inclusive")
    return f"p50 {cuts[9]:.1f} s, p95 {cuts[18]:.1f} s, max {max(seconds):.1f} s"


def send(service: RunningService, jobs: int) -> list[str]:
    """Ids of acknowledged jobs; a request that got no answer is sent again with its key."""
    acknowledged = []
    with httpx.Client(base_url=service.url, timeout=30) as http:
        for number in range(jobs):
            path = service.slides / f"{number}.svs"
            path.write_text(json.dumps({"steps": 2, "step_s": 0.005, "number": number}))
            body, key = {"path": str(path)}, {"Idempotency-Key": f"job-{number}"}
            while True:
                try:
                    answer = http.post("/predict", json=body, headers=key)
                    acknowledged.append(answer.raise_for_status().json()["id"])
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
    return acknowledged


def kill_busy(
    service: RunningService, database: Database, kills: int, dice: random.Random
) -> dict[str, list[float]]:
    """Kill the worker `kills` times while it works, the others now and then; when, by victim."""
    killed: dict[str, list[float]] = {"worker": [], "pool process": [], "broker": [], "api": []}
    for number in range(kills):
        before = ended(database)
        wait_until(lambda before=before: ended(database) > before, EVERY_S)
        time.sleep(dice.uniform(0.0, 1.5))
        if number % 10 == 3:
            strike(killed["pool process"], lambda: kill_child(service.workers[0]))
        if number % 10 == 6:
            strike(killed["broker"], service.kill_broker)
            service.start_broker()
        if number % 10 == 9:
            strike(killed["api"], service.kill_api)
            service.start_api()
        strike(killed["worker"], lambda: service.kill_worker(service.workers[0]))
        service.start_worker()
    return killed


def strike(times: list[float], kill: Callable[[], None]) -> None:
    times.append(time.time())
    kill()


def kill_child(worker: subprocess.Popen[bytes]) -> None:
    for child in psutil.Process(worker.pid).children():
        child.kill()


def ended(database: Database) -> int:
    by_state = totals(database).by_state
    return sum(by_state[state] for state in ENDED)


def plain(jobs: int, kills: int, dice: random.Random) -> None:
    """Celery alone: as many tasks, as many kills of the worker."""
    with tempfile.TemporaryDirectory(prefix="plain-") as name:
        folder = Path(name)
        log, socket = folder / "ran", folder / "valkey.sock"
        log.touch()
        server = Broker(socket)
        server.start()
        url = f"redis+socket://{socket}"
        app = make_app(url, log)
        for number in range(jobs):
            app.send_task("plain.run", args=(number,))
        worker = start_plain(url, log)
        for _ in range(kills):
            before = log.stat().st_size
            wait_until(lambda before=before: log.stat().st_size > before, EVERY_S)
            time.sleep(dice.uniform(0.0, 1.5))
            worker.kill()
            worker.wait()
            worker = start_plain(url, log)
        idle_since, size = time.monotonic(), 0
        while time.monotonic() - idle_since < 5 * VISIBILITY_S:
            if log.stat().st_size != size:
                idle_since, size = time.monotonic(), log.stat().st_size
            time.sleep(0.2)
        runs = Counter(log.read_text().split())
        print(f"plain Celery: {jobs} tasks, {kills} kills")
        print(f"  lost {jobs - len(runs)}, ran twice {sum(n > 1 for n in runs.values())}")
        worker.kill()
        worker.wait()
        server.kill()


def start_plain(url: str, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.plain_celery", url, str(log)],
        cwd=ROOT,
        env={**os.environ, "C_FORCE_ROOT": "1"},
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
