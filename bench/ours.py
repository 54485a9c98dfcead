"""Ours, as a process of its own, timed the same way: python -m bench.ours URL COUNT.

The real app (FastStream, settings from the environment, telemetry from the standard variables,
metrics served as they are by default), run until the last event is settled. Prints one JSON line.
"""

import asyncio
import json
import resource
import sys
import time

import uvloop

from bench.work import GROUP, STREAM, Work
from consumer.app import build
from consumer.link import Link
from consumer.settings import Settings


async def run(url: str, last: str) -> dict[str, float]:
    app = build(Settings.load(redis_url=url, log_level="WARNING"))
    link = Link(url)
    await link.one("PING")
    before = time.process_time()
    started = time.perf_counter()
    running = asyncio.create_task(app.run())
    while not await _settled(link, last):
        # Seldom while much is left: asking costs the event loop that is measured.
        await asyncio.sleep(0.003)
    took = time.perf_counter() - started
    cpu = time.process_time() - before
    app.exit()
    await running
    await link.close()
    return {"seconds": took, "cpu_s": cpu}


async def _settled(link: Link, last: str) -> bool:
    groups = await link.one("XINFO", "GROUPS", STREAM)
    fields = next(g for g in map(_pairs, groups) if g[b"name"] == GROUP.encode())
    return fields[b"pending"] == 0 and fields[b"last-delivered-id"] == last.encode()


def _pairs(flat: list[bytes]) -> dict[bytes, object]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


if __name__ == "__main__":
    url, count = sys.argv[1], int(sys.argv[2])
    report = uvloop.run(run(url, Work.entry_id(count - 1)))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**report, "rss_mb": used.ru_maxrss / 1024}))
