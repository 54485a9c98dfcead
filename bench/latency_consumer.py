"""The consumer, and for each event the milliseconds from its XADD to its settling, as one JSON list
when it is told to stop. python -m bench.latency_consumer URL"""

import json
import os
import sys

import uvloop

import consumer.app
from consumer.outcome import Batch
from consumer.settings import Settings

seen: list[float] = []


def note(batch: Batch) -> None:
    ended_ms = batch.ended_ns / 1e6
    seen.extend(
        ended_ms - int(settled.event.entry.id.partition("-")[0]) for settled in batch.settled
    )


if __name__ == "__main__":
    consumer.app._watchers = lambda *_: note
    settings = Settings.load(redis_url=sys.argv[1], http="off", log_level="ERROR")
    uvloop.run(consumer.app.build(settings).run())
    os.set_blocking(1, True)  # uvloop left the pipe non-blocking, and it holds 64 KB
    print(json.dumps([round(ms, 3) for ms in seen[len(seen) // 10 :]]))
