"""Malformed entries through a running consumer: `python -m bench.fuzz --entries 200000`.

All of them must end in the dead letters, none may take the consumer down, its memory stays flat.
"""

import json
import os
import random
import subprocess
import sys
import time
from typing import Annotated, Any

import psutil
import redis
import typer
from rich.console import Console
from rich.progress import Progress

from bench.servers import Server
from bench.work import DEAD, STREAM
from producers import samples

Fields = dict[bytes, bytes]


def malformed(rng: random.Random, valid: list[bytes]) -> Fields:
    """One entry that must not pass; seeded, so that a run can be repeated."""
    kind = rng.randrange(10)
    if kind == 0:
        return {rng.randbytes(rng.randint(1, 30)): rng.randbytes(rng.randint(0, 200))}
    if kind == 1:
        return {f"f{n}".encode(): b"x" for n in range(rng.choice((1, 2, 50, 1500)))}
    if kind == 2:
        return {b"__data__": rng.randbytes(rng.randint(0, 300))}
    if kind == 3:
        return {b"snapshot": rng.randbytes(rng.randint(0, 500))}
    if kind == 4:
        depth = rng.choice((10, 150, 250, 20_000))
        return {b"snapshot": b'{"a":' * depth + b"1" + b"}" * depth}
    if kind == 5:
        return {b"snapshot": b'{"generated_at":' + b"9" * rng.choice((30, 4000, 50_000)) + b"}"}
    raw = rng.choice(valid)
    if kind == 6:
        return {b"snapshot": raw[: rng.randrange(len(raw))]}
    if kind == 7:
        spoiled = bytearray(raw)
        spoiled[rng.randrange(len(raw))] = rng.choice((0x00, 0xFF, 0xC0, 0x1F))
        return {b"snapshot": b"{" + bytes(spoiled)}
    document = json.loads(raw)
    if kind == 8:
        _spoil(document, rng)
    else:
        document["region_id"] = "".join(map(chr, (rng.randrange(0x20, 0xD7FF) for _ in range(9))))
    return {b"snapshot": samples.to_json(document), b"cycle": rng.randbytes(5)}


def _spoil(document: dict[str, Any], rng: random.Random) -> None:
    """A required field of another type, or none at all."""
    parent: Any = document
    if rng.random() < 0.6:
        parent = document[rng.choice(("meta", "balance", "regime", "triggers", "narrative"))]
    name = rng.choice([name for name in parent if name != "extra"])
    if rng.random() < 0.3:
        del parent[name]
    else:
        parent[name] = rng.choice((None, {"𝕏": "\u202e"}, [[[]]], {"a": [1e308]}))


def main(
    entries: Annotated[int, typer.Option(help="How many.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same entries.")] = 1,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Exit status 1 when an entry was lost, or the consumer died or grew."""
    console = Console(stderr=True)
    report = run(entries, seed, Progress(console=console, disable=not console.is_terminal))
    print(json.dumps(report, indent=None if as_json else 1))
    raise typer.Exit(0 if report["ok"] else 1)


def run(entries: int, seed: int, progress: Progress) -> dict[str, Any]:
    rng = random.Random(seed)
    valid = [samples.to_json(samples.snapshot("mena", seed=n, evidence=3)) for n in range(50)]
    with Server() as server, server.client as client, progress:
        consumer = _consumer(server.url)
        task = progress.add_task("fuzzing", total=entries)
        memory: list[int] = []
        started = time.monotonic()
        try:
            sent = dead = 0
            while sent < entries:
                with client.pipeline(transaction=False) as pipe:
                    size = min(1000, entries - sent)
                    for _ in range(size):
                        pipe.xadd(STREAM, malformed(rng, valid))
                    pipe.execute()
                sent += size
                _wait(client, consumer)
                memory.append(psutil.Process(consumer.pid).memory_info().rss)
                # Counted, then let go: a million kept would be the server's memory, not ours.
                dead += client.xlen(DEAD)
                client.xtrim(DEAD, maxlen=0)
                client.xtrim(STREAM, maxlen=0, approximate=False)
                progress.update(task, completed=sent)
            alive = consumer.poll() is None
        finally:
            consumer.kill()
            consumer.wait()
    # Flat: the second half of the run needs no more than the first did, and 10 %.
    half = len(memory) // 2
    grown = max(memory[half:]) / max(memory[: half or 1])
    return {
        "entries": entries,
        "seed": seed,
        "dead_lettered": dead,
        "consumer_alive": alive,
        "rss_mb_first": round(memory[0] / 1e6, 1),
        "rss_mb_max": round(max(memory) / 1e6, 1),
        "rss_growth_second_half": round(grown, 3),
        "seconds": round(time.monotonic() - started, 1),
        "ok": dead == entries and alive and grown < 1.1,
    }


def _consumer(url: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ, "REDIS_URL": url, "REGIONS_HTTP": "off", "REGIONS_LOG_LEVEL": "ERROR",
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "consumer.cli", "consume"], env=environment)


def _wait(client: redis.Redis, consumer: subprocess.Popen[bytes]) -> None:
    """Until all that was sent is settled, or the consumer is dead."""
    while consumer.poll() is None:
        try:
            group = client.xinfo_groups(STREAM)[0]
            last = client.xinfo_stream(STREAM)["last-generated-id"]
        except (redis.ResponseError, IndexError):
            group = {"pending": 1, "last-delivered-id": b""}
            last = b"none"
        if group["pending"] == 0 and group["last-delivered-id"] == last:
            return
        time.sleep(0.01)


if __name__ == "__main__":
    typer.run(main)
