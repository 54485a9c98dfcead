"""A producer whose telemetry fails: python -m bench.producing. Every region traced, to a collector
that is well, slow, down or refusing, interleaved; prints events a second of each, and how long
leaving took.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Annotated

import typer

from bench.measure import sink
from bench.servers import Server
from bench.work import STREAM, Work
from otel.instruments import PRODUCER_SERVICE
from otel.setup import tracing
from producers.publisher import RegionPublisher

MODES = ("ok", "slow", "down", "refusing")


async def publish(url: str, count: int) -> dict[str, float]:
    """What one process does; the collector is in its environment."""
    raws, traced = list(Work(count).raws()), tracing(PRODUCER_SERVICE)
    async with RegionPublisher(url, tracer_provider=traced.provider) as publisher:
        started = time.perf_counter()
        for start in range(0, count, 500):
            await publisher.publish(raws[start : start + 500])
        took = time.perf_counter() - started
    leaving = time.perf_counter()
    traced.shutdown()
    return {"rate": count / took, "leaving_s": time.perf_counter() - leaving}


def main(
    count: Annotated[int, typer.Option(help="Snapshots in each round.")] = 20_000,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.")] = 3,
) -> None:
    rows: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with Server() as server, server.client as client:
        for _ in range(rounds):
            for mode in MODES:
                client.flushall()
                with sink(mode) as collector:
                    done = subprocess.run(
                        [sys.executable, "-m", "bench.producing", server.url, str(count)],
                        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector},
                        capture_output=True, text=True, check=True,
                    )  # fmt: skip
                assert client.xlen(STREAM) == count, "an event was lost"
                rows[mode].append(json.loads(done.stdout.splitlines()[-1]))
    print(json.dumps({m: {k: round(statistics.median(r[k] for r in found), 2) for k in found[0]}
                      for m, found in rows.items()}, indent=1))  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("redis://"):
        print(json.dumps(asyncio.run(publish(sys.argv[1], int(sys.argv[2])))))
    else:
        typer.run(main)
