"""One producer of the chaos run: publishes through a bad link, and keeps a ledger.

A line is written for a snapshot only once `publish` has returned its entry id: from then on it
must not be lost. Run by bench/chaos.py.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from consumer.events import REGIONS
from consumer.link import Link
from producers import samples
from producers.publisher import RegionPublisher

STREAM = "region-events"
BATCH = 64


def tiny(region: str, generated_at: int, rng: random.Random, reason: str) -> dict[str, Any]:
    """A valid snapshot of little over 2 KB, so that half a million fit into memory."""
    document = samples.snapshot(
        region, generated_at, seed=rng.getrandbits(62), evidence=0, trigger_reason=reason
    )
    document["actors"] = []
    document["scenario_sets"] = []
    document["balance"]["pressures"] = document["balance"]["buffers"] = []
    document["triggers"]["dormant"] = []
    document["transmission_paths"] = []
    return document


async def main(url: str, ledger_path: str, events: int, seed: int, name: str) -> None:
    rng = random.Random(f"{seed}-{name}")
    link = Link(url)
    earlier: list[dict[str, Any]] = []
    with Path(ledger_path).open("w", buffering=1) as ledger:
        async with RegionPublisher(url, retry_s=120) as publisher:
            made = 0
            while made < events:
                batch = _batch(rng, name, made, min(BATCH, events - made), earlier)
                entry_ids = await publisher.publish(batch)
                for document, entry_id in zip(batch, entry_ids, strict=True):
                    ledger.write(json.dumps([entry_id, document["meta"]["snapshot_id"]]) + "\n")
                made += len(batch)
                earlier = [*earlier[-200:], *rng.sample(batch, min(8, len(batch)))]
                if rng.random() < 0.3:
                    await _broken(link, ledger, rng)
    await link.close()


def _batch(
    rng: random.Random, name: str, made: int, size: int, earlier: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """New ones, some of them hours late, and some that were published before."""
    now_ms = time.time_ns() // 1_000_000
    batch = []
    for n in range(made, made + size):
        if earlier and rng.random() < 0.03:
            batch.append(rng.choice(earlier))
            continue
        late = rng.randint(1, 80) * 3_600_000 if rng.random() < 0.05 else 0
        batch.append(tiny(rng.choice(REGIONS), now_ms - late, rng, f"{name}_{n}"))
    return batch


async def _broken(link: Link, ledger: Any, rng: random.Random) -> None:
    """A producer that checks nothing; it tells of it only when the server has answered."""
    try:
        raw = f"broken {rng.getrandbits(64):x}"
        entry_id = (await link.one("XADD", STREAM, "*", "snapshot", raw)).decode()
    except Exception:
        return
    ledger.write(json.dumps([entry_id, ""]) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
