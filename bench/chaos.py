"""Everything goes wrong for as long as you like: `python -m bench.chaos --events 500000`.

Producers and consumers are real processes, the server is real and on disk (appendfsync always),
and all talk through a link that is cut. Consumers are killed, stopped, stalled, started; the
server is killed; scripts are forgotten. Afterwards every event that was published is looked up.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import redis
import typer
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from rich.console import Console
from rich.progress import Progress

from bench.proxy import Proxy
from bench.servers import Server
from bench.work import DEAD, GROUP, STREAM
from consumer import keys
from consumer.events import REGIONS

PRODUCERS, CONSUMERS = 2, 3
IDLE_MS = 3000
FAULTS = ("kill", "stop", "stall", "kill server", "cut", "half-open", "forget scripts", "scale")


class Run:
    """The processes of one run, and what was done to them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.seed = seed
        self.server = Server(appendonly="yes", appendfsync="always")
        self.proxy = Proxy(self.server.port)
        self.consumers: list[subprocess.Popen[bytes]] = []
        self.producers: list[subprocess.Popen[bytes]] = []
        self.faults: Counter[str] = Counter()
        self.recovered_s: list[float] = []
        self.bad_exits: list[int] = []
        self.latest: dict[str, int] = {}
        self.turned_back = 0
        self.started = 0
        self.client = redis.Redis(
            port=self.server.port, retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 200)
        )

    def consumer(self) -> None:
        self.started += 1
        environment = {
            **os.environ,
            "REDIS_URL": self.proxy.url,
            "REGIONS_HTTP": "off",
            "REGIONS_IDLE_MS": str(IDLE_MS),
            "REGIONS_RETRY_S": "2",
            "REGIONS_RETAIN_S": "60",
            # Stalls and kills are ours, many of them; no event is to blame.
            "REGIONS_MAX_DELIVERIES": "1000",
            "REGIONS_LOG_LEVEL": "DEBUG",
        }
        with (self.folder / f"consumer-{self.started}.log").open("wb") as log:
            self.consumers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "consumer.cli", "consume"], env=environment, stderr=log
                )
            )

    def producer(self, events: int, name: str) -> None:
        arguments = [self.proxy.url, str(self.folder / f"{name}.ledger"), str(events),
                     str(self.seed), name]  # fmt: skip
        self.producers.append(
            subprocess.Popen([sys.executable, "-m", "bench.chaos_producer", *arguments])
        )

    def ledger(self) -> list[list[str]]:
        return [
            json.loads(line)
            for path in sorted(self.folder.glob("*.ledger"))
            for line in path.read_text().splitlines()
        ]

    def published(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("*.ledger"))

    def fault(self) -> None:
        """One of them, at random; then wait until what was in the stream by then is settled."""
        kind = self.rng.choice(FAULTS)
        mark = self.client.xinfo_stream(STREAM)["last-generated-id"]
        since = time.monotonic()
        self._do(kind)
        self.faults[kind] += 1
        while len(self.consumers) < CONSUMERS:
            self.consumer()
        while not self._settled_up_to(mark):
            self.watch()
            time.sleep(0.02)
        self.recovered_s.append(time.monotonic() - since)

    def _do(self, kind: str) -> None:
        victim = self.rng.randrange(len(self.consumers))
        if kind == "kill":
            process = self.consumers.pop(victim)
            process.kill()
            process.wait()
        elif kind == "stop":
            self._leave(self.consumers.pop(victim))
        elif kind == "stall":
            process = self.consumers[victim]
            process.send_signal(signal.SIGSTOP)
            time.sleep(self.rng.uniform(0.1, 1.7 * IDLE_MS / 1000))
            process.send_signal(signal.SIGCONT)
        elif kind == "kill server":
            self.server.kill()
            time.sleep(self.rng.uniform(0, 0.5))
            self.server.start(wait=False)
            self.server.wait(120)
        elif kind == "cut":
            for _ in range(self.rng.randint(1, 5)):
                self.proxy.cut()
                time.sleep(self.rng.uniform(0, 0.1))
        elif kind == "half-open":
            self.proxy.silent = True
            time.sleep(self.rng.uniform(0.2, 3))
            self.proxy.silent = False
            self.proxy.cut()
        elif kind == "forget scripts":
            self.client.script_flush()
        elif len(self.consumers) > CONSUMERS:
            self._leave(self.consumers.pop(victim))
        else:
            self.consumer()

    def _leave(self, process: subprocess.Popen[bytes]) -> None:
        # One that is still being imported has no handler yet, and holds nothing.
        awake = bool(Path(f"/proc/{process.pid}/fd/2").stat().st_size)
        process.terminate()
        status = process.wait(60)
        if status and awake:
            self.bad_exits.append(status)

    def _settled_up_to(self, mark: bytes) -> bool:
        try:
            group = self.client.xinfo_groups(STREAM)[0]
            lowest = self.client.xpending(STREAM, GROUP)["min"]
        except redis.RedisError:
            return False
        if _order(group["last-delivered-id"]) < _order(mark):
            return False
        return lowest is None or _order(lowest) > _order(mark)

    def watch(self) -> None:
        """`latest` may never go back; a snapshot id begins with its time."""
        try:
            pointers = self.client.mget([keys.latest(region) for region in REGIONS])
        except redis.RedisError:
            return
        for region, pointer in zip(REGIONS, pointers, strict=True):
            if pointer:
                at = int(pointer[:12], 16)
                self.turned_back += at < self.latest.get(region, 0)
                self.latest[region] = at


def _order(entry_id: bytes) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence or 0)


def check(run: Run) -> dict[str, Any]:
    """Look every published event up; count what is missing, double, or turned back."""
    ledger = run.ledger()
    letters = [f for _, f in run.client.xrange(DEAD)]
    dead = Counter(letter[b"source_id"].decode() for letter in letters)
    lost = 0
    for start in range(0, len(ledger), 1000):
        part = ledger[start : start + 1000]
        pipe = run.client.pipeline(transaction=False)
        for _, snapshot_id in part:
            pipe.exists(keys.by_id(snapshot_id))
        for (entry_id, snapshot_id), there in zip(part, pipe.execute(), strict=True):
            lost += not (there if snapshot_id else dead[entry_id])
    writes: Counter[str] = Counter()
    for path in run.folder.glob("consumer-*.log"):
        for line in path.read_bytes().splitlines():
            if b'"event settled"' in line and (b'"persisted"' in line or b'"superseded"' in line):
                writes[json.loads(line)["snapshot_id"]] += 1
    doubled = sum(n > 1 for n in writes.values()) + sum(n > 1 for n in dead.values())
    indexed = 0
    for region in REGIONS:
        newest = run.client.zrange(keys.index(region), -1, -1)
        indexed += run.client.zcard(keys.index(region))
        run.turned_back += newest != [run.client.get(keys.latest(region))]
    lost += len({i for _, i in ledger if i}) - indexed
    return {
        "published": len(ledger),
        "distinct": len({i for _, i in ledger if i}),
        "broken": sum(not i for _, i in ledger),
        "dead_letters": len(letters),
        "faults": sum(run.faults.values()),
        "faults_by_kind": dict(sorted(run.faults.items())),
        "lost": lost,
        "doubled": doubled,
        "turned_back": run.turned_back,
        "bad_exits": run.bad_exits,
        "recovery_s_p50": round(statistics.median(run.recovered_s or [0]), 2),
        "recovery_s_max": round(max(run.recovered_s or [0]), 2),
    }


def run_chaos(events: int, minutes: float, seed: int, progress: Progress) -> dict[str, Any]:
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regions-chaos-")))
        run = Run(folder, seed)
        stack.enter_context(run.server)
        stack.enter_context(run.proxy)
        stack.callback(lambda: [p.kill() or p.wait() for p in run.consumers + run.producers])
        run.client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        stack.enter_context(progress)
        for _ in range(CONSUMERS):
            run.consumer()
        for n in range(PRODUCERS):
            run.producer(events // PRODUCERS, f"p{n}")
        task = progress.add_task("surviving", total=events)
        while any(process.poll() is None for process in run.producers):
            if time.monotonic() - started > minutes * 60:
                for process in run.producers:
                    process.terminate()
            progress.update(task, completed=run.published())
            run.fault()
            time.sleep(run.rng.uniform(0, 0.3))
        last = run.client.xinfo_stream(STREAM)["last-generated-id"]
        deadline = time.monotonic() + 120
        while not run._settled_up_to(last) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in run.consumers:
            run._leave(process)
        report = {
            "seed": seed,
            **check(run),
            "minutes": round((time.monotonic() - started) / 60, 1),
        }
    report["ok"] = not (
        report["lost"] or report["doubled"] or report["turned_back"] or report["bad_exits"]
    )
    return report


def main(
    events: Annotated[int, typer.Option(help="How many to publish.")] = 20_000,
    minutes: Annotated[float, typer.Option(help="At most so long.")] = 60,
    seed: Annotated[int, typer.Option(help="Which faults, in which order.")] = 1,
) -> None:
    """Exit status 1 when anything was lost, doubled or turned back."""
    console = Console(stderr=True)
    progress = Progress(console=console, disable=not console.is_terminal)
    report = run_chaos(events, minutes, seed, progress)
    print(json.dumps(report, indent=1))
    raise typer.Exit(0 if report["ok"] else 1)


if __name__ == "__main__":
    typer.run(main)
