"""What is compared, but for ours: python -m bench.systems NAME URL COUNT prints one JSON line.

(a) sequential: the loop that region-stream replaces. (b) faststream: a straightforward FastStream
consumer. (c) bare: redis-py without framework or telemetry, our script in batches, packed by
hiredis, three loops so that one fetches while the others check and write: the most that Python could do.
(d) ceiling: the same commands as prebuilt bytes, sent and drained: what the server could do.

Each times itself, from the start of consuming until the last is settled.
"""

import asyncio
import json
import resource
import socket
import sys
import threading
import time
from typing import Any

import hiredis
import redis
import redis.asyncio
import uvloop

from bench.work import GROUP, STREAM, Work
from consumer import keys
from consumer.events import Facts, Rules, check
from consumer.snapshot import Snapshot
from consumer.store import PERSIST

BATCH = 256
KEEP_S, WINDOW_S = 90 * 86_400, 900
MAX_WORKERS = 32


def facts_of(raw: bytes) -> Facts:
    facts = check(raw, Rules(), time.time_ns() // 1_000_000)
    assert isinstance(facts, Facts)
    return facts


def sequential(url: str, count: int) -> float:
    """Plain redis-py, one region after the other: SET NX, then a pipeline of the writes."""
    client = redis.Redis.from_url(url)
    raws = list(Work(count).raws())
    started = time.perf_counter()
    for raw in raws:
        facts = facts_of(raw)
        mark = keys.dedup(facts.region, facts.trigger_reason, facts.generated_at)
        if client.set(mark, facts.snapshot_id, nx=True, ex=WINDOW_S):
            pipe = client.pipeline(transaction=True)
            _writes(pipe, facts, raw)
            pipe.execute()
    return time.perf_counter() - started


def _writes(pipe: Any, facts: Facts, raw: bytes) -> None:
    region = facts.region
    pipe.set(keys.snapshot(region, facts.generated_at), raw, ex=KEEP_S)
    pipe.set(keys.by_id(facts.snapshot_id), raw, ex=KEEP_S)
    pipe.zadd(keys.index(region), {facts.snapshot_id: facts.generated_at})
    pipe.zremrangebyscore(keys.index(region), "-inf", f"({facts.generated_at - KEEP_S * 1000}")
    pipe.set(keys.latest(region), facts.snapshot_id, ex=KEEP_S)
    pipe.delete(keys.live(region))


def faststream(url: str, count: int) -> float:
    """Per message, several workers, a typed handler, SET NX then MULTI, automatic ack."""
    from faststream import FastStream
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(url, logger=None)
    client = redis.asyncio.Redis.from_url(url)
    done = 0
    finished = asyncio.Event()

    @broker.subscriber(
        stream=StreamSub(STREAM, group=GROUP, consumer="b", max_records=BATCH),
        max_workers=MAX_WORKERS,
    )
    async def handle(snapshot: Snapshot) -> None:
        nonlocal done
        meta = snapshot["meta"]
        region, at = snapshot["region_id"], snapshot["generated_at"]
        facts = Facts(region, meta["snapshot_id"], at, meta["trigger_reason"])
        mark = keys.dedup(region, facts.trigger_reason, at)
        if await client.set(mark, facts.snapshot_id, nx=True, ex=WINDOW_S):
            pipe = client.pipeline(transaction=True)
            _writes(pipe, facts, json.dumps(snapshot).encode())
            await pipe.execute()
        done += 1
        if done == count:
            finished.set()

    async def run() -> float:
        app = FastStream(broker, logger=None)
        started = time.perf_counter()
        await app.start()
        await finished.wait()
        while (await client.xpending(STREAM, GROUP))["pending"]:
            await asyncio.sleep(0.001)
        took = time.perf_counter() - started
        await app.stop()
        await client.aclose()
        return took

    return uvloop.run(run())


def persist_command(entry_id: str, raw: bytes, facts: Facts) -> tuple[Any, ...]:
    region, snapshot_id, at, reason, _ = facts
    return (
        "EVALSHA", PERSIST.sha, 7, STREAM, keys.dedup(region, reason, at), keys.by_id(snapshot_id),
        keys.snapshot(region, at), keys.index(region), keys.latest(region), keys.live(region),
        GROUP, entry_id, snapshot_id, at, raw, KEEP_S, WINDOW_S,
    )  # fmt: skip


def bare(url: str, count: int) -> float:
    """redis-py's connections, hiredis' packing, our script; nothing else."""

    async def loop(client: redis.asyncio.Redis, left: list[int]) -> None:
        writer = await client.connection_pool.get_connection()
        while left[0] > 0:
            found = await client.xreadgroup(GROUP, "c", {STREAM: ">"}, count=BATCH, block=100)
            if not found:
                continue
            entries = found[0][1] if isinstance(found, list) else next(iter(found.values()))[0]
            packed = [
                hiredis.pack_command(
                    persist_command(
                        entry_id.decode(), fields[b"snapshot"], facts_of(fields[b"snapshot"])
                    )
                )
                for entry_id, fields in entries
            ]
            await writer.send_packed_command(packed)
            for _ in entries:
                await writer.read_response()
            left[0] -= len(entries)
        await client.connection_pool.release(writer)

    async def run() -> float:
        client = redis.asyncio.Redis.from_url(url, socket_timeout=None, protocol=2)
        await client.script_load(PERSIST.text)
        left = [count]
        started = time.perf_counter()
        await asyncio.gather(*(loop(client, left) for _ in range(3)))
        took = time.perf_counter() - started
        await client.aclose()
        return took

    return uvloop.run(run())


def ceiling(url: str, count: int) -> float:
    """All reads and all scripts as bytes made beforehand; replies are drained, not parsed."""
    work = Work(count)
    with redis.Redis.from_url(url) as client:
        client.script_load(PERSIST.text)
        host = client.connection_pool.connection_kwargs
    pieces = []
    read = ("XREADGROUP", "GROUP", GROUP, "d", "COUNT", BATCH, "STREAMS", STREAM, ">")
    for n in range(count):
        if n % BATCH == 0:
            pieces.append(hiredis.pack_command(read))
        region, at, reason, snapshot_id = work.identity(n)
        facts = Facts(region, snapshot_id, at, reason)
        pieces.append(hiredis.pack_command(persist_command(work.entry_id(n), work.raw(n), facts)))
    pieces.append(hiredis.pack_command(("ECHO", "the-very-end")))
    data = b"".join(pieces)
    with socket.create_connection((host["host"], host["port"])) as connection:
        started = time.perf_counter()
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        tail = b""
        while not tail.endswith(b"the-very-end\r\n"):
            tail = (tail + connection.recv(1 << 20))[-64:]
        took = time.perf_counter() - started
        sender.join()
    return took


SYSTEMS = {
    "sequential": sequential, "faststream": faststream, "bare": bare, "ceiling": ceiling,
}  # fmt: skip

if __name__ == "__main__":
    name, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seconds = SYSTEMS[name](url, count)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": seconds, "rss_mb": used.ru_maxrss / 1024}))
