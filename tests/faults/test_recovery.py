"""Consumers that die, stop, stall or are killed by what they read. Real processes."""

import asyncio
import random
import signal
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import redis

from consumer import keys
from consumer.events import REGIONS
from producers import samples
from tests.kit import (
    DEAD,
    GROUP,
    STREAM,
    ConsumerProcess,
    MakeRoad,
    command_calls,
    dead_letters,
    settled,
    until,
    waiting,
)

QUICK = {"REGIONS_IDLE_MS": "800", "REGIONS_RETRY_S": "0.5"}


def add_many(client: redis.Redis, count: int, start: int = 0) -> list[str]:
    """Distinct small events; returns their snapshot ids."""
    now = time.time_ns() // 1_000_000
    pipe = client.pipeline(transaction=False)
    ids = []
    for n in range(start, start + count):
        document = samples.snapshot(
            REGIONS[n % 8], now - n, seed=n, evidence=1, trigger_reason=f"r_{n}"
        )
        ids.append(document["meta"]["snapshot_id"])
        pipe.xadd(STREAM, {"snapshot": samples.to_json(document)})
    pipe.execute()
    return ids


def persisted(client: redis.Redis, ids: list[str]) -> int:
    return int(client.exists(*map(keys.by_id, ids)))


async def test_what_the_dead_left_is_taken_over_in_bulk(url: str, client: redis.Redis) -> None:
    """Every consumer is dead; the next one to start recovers thousands, many at a time."""
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    ids = add_many(client, 3000)
    client.xreadgroup(GROUP, "ghost-1", {STREAM: ">"}, count=1800)
    client.xreadgroup(GROUP, "ghost-2", {STREAM: ">"}, count=1200)
    client.config_resetstat()
    with ConsumerProcess(url, **QUICK):
        await until(lambda: settled(client), 30)
        calls = command_calls(client)
        # Dead names go as well, once they are idle and hold nothing.
        await until(lambda: _names(client) & {"ghost-1", "ghost-2"} == set(), 20)
    assert persisted(client, ids) == 3000
    assert calls["zadd"] == 3000
    # In bulk: a claim for every 256 of each pass, and some that found nothing.
    assert calls["xclaim"] <= 3000 / 256 + 5
    # Delivery counts were asked for what was claimed, and for nothing else (persist asks as well).
    assert calls["xpending"] <= 2 * 3000 + 10


def _names(client: redis.Redis) -> set[str]:
    return {c["name"].decode() for c in client.xinfo_consumers(STREAM, GROUP)}


async def test_sigkill_under_load(url: str, client: redis.Redis) -> None:
    rng = random.Random(7)
    ids: list[str] = []
    with ExitStack() as stack:
        consumers = [stack.enter_context(ConsumerProcess(url, **QUICK)) for _ in range(3)]
        await until(lambda: waiting(client) >= 7, 30)
        for round_number in range(3):
            ids += add_many(client, 1500, start=round_number * 1500)
            enough = len(ids) - 1500 + rng.randint(0, 700)
            await until(lambda n=enough, i=ids: persisted(client, i) > n)
            victim = consumers.pop(0)
            victim.kill()
            consumers.append(stack.enter_context(ConsumerProcess(url, **QUICK)))
        await until(lambda: settled(client), 40, "all that was left was taken over")
    assert persisted(client, ids) == len(ids)
    assert sum(client.zcard(keys.index(region)) for region in REGIONS) == len(ids)
    assert client.xlen(DEAD) == 0


async def test_rolling_restarts_under_load(url: str, client: redis.Redis) -> None:
    """Twenty clean restarts, an idle limit of an hour: nothing lost, nothing waits for it."""
    patient = {"REGIONS_IDLE_MS": "3600000"}
    with ExitStack() as stack:
        consumers = [stack.enter_context(ConsumerProcess(url, **patient)) for _ in range(4)]
        await until(lambda: waiting(client) >= 10, 40)
        ids: list[str] = []
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                ids.extend(await asyncio.to_thread(add_many, client, 100, len(ids)))
                await asyncio.sleep(0.05)

        loading = asyncio.create_task(load())
        for _ in range(20):
            leaving = consumers.pop(0)
            leaving.process.terminate()
            consumers.append(stack.enter_context(ConsumerProcess(url, **patient)))
            status = await asyncio.to_thread(leaving.process.wait, 20)
            assert status == 0, leaving.output
        done.set()
        await loading
        await until(lambda: settled(client), 20, "settled long before the idle limit")
        for consumer in consumers:
            assert await asyncio.to_thread(consumer.terminate) == 0
    assert persisted(client, ids) == len(ids)
    assert _names(client) <= {"released"}, "every name is gone"
    assert client.xlen(DEAD) == 0


async def test_sigterm_hands_back_what_is_not_settled(url: str, client: redis.Redis) -> None:
    """A server without room: the entry cannot be settled, so on the way out it is released."""
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    with ConsumerProcess(url, REGIONS_IDLE_MS="3600000") as consumer:
        await until(lambda: waiting(client))
        add_many(client, 5)
        await until(lambda: settled(client))
        try:
            with client.pipeline(transaction=True) as pipe:  # room for these, and no more
                ids = [b"%d" % n for n in range(5)]
                for n in ids:
                    pipe.xadd(STREAM, {"snapshot": b"broken " + n})
                pipe.config_set("maxmemory", "1")
                pipe.execute()
            await until(lambda: client.xpending(STREAM, GROUP)["pending"] == 5)
            assert await asyncio.to_thread(consumer.terminate) == 0
        finally:
            client.config_set("maxmemory", "0")
    pending = client.xpending_range(STREAM, GROUP, "-", "+", 10)
    assert {p["consumer"] for p in pending} == {b"released"}
    assert min(p["time_since_delivered"] for p in pending) > 3600000 / 2
    with ConsumerProcess(url, REGIONS_IDLE_MS="3600000"):
        await until(lambda: client.xlen(DEAD) == 5, 20)
        await until(lambda: settled(client))


POISONED = textwrap.dedent("""
    import os, sys
    import consumer.pipeline as pipeline
    from consumer.cli import main

    decode = pipeline.decode

    def deadly(entry, rules, now_ms):
        if b"poison" in entry.fields:
            os._exit(137)
        return decode(entry, rules, now_ms)

    pipeline.decode = deadly
    sys.argv = ["regions", "consume"]
    main()
""")


async def test_a_message_that_kills_its_consumer_is_stopped_alone(
    url: str, client: redis.Redis
) -> None:
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    ids = add_many(client, 40)
    raw = samples.to_json(samples.snapshot("mena", trigger_reason="deadly"))
    client.xadd(STREAM, {"snapshot": raw, "poison": "1"})
    ids += add_many(client, 40, start=40)
    environment = {"REGIONS_IDLE_MS": "400", "REGIONS_RETRY_S": "0.2", "REGIONS_SUBSCRIBERS": "1"}
    deaths = 0
    while not dead_letters(client):
        with ConsumerProcess(url, sys.executable, "-c", POISONED, **environment) as consumer:
            await until(lambda c=consumer: c.process.poll() is not None or settled(client), 30)
            if consumer.process.poll() is not None:
                assert consumer.process.returncode == 137, consumer.output
                deaths += 1
        assert deaths <= 5
    assert deaths == 5
    (letter,) = dead_letters(client)
    assert letter[b"reason"] == b"delivery_limit"
    assert letter[b"event.poison"] == b"1"
    assert letter[b"event.snapshot"] == raw
    assert int(letter[b"deliveries"]) == 6
    assert persisted(client, ids) == 80
    assert client.xpending(STREAM, GROUP)["pending"] == 0


async def test_a_stalled_consumer_wakes_up_and_changes_nothing(
    url: str, client: redis.Redis
) -> None:
    """Stopped with entries in hand, past the idle limit; others settle them; then it goes on."""
    with ConsumerProcess(url, REGIONS_CONSUMER="sleeper", **QUICK) as sleeper:
        await until(lambda: waiting(client))
        ids = []
        for attempt in range(50):
            ids += add_many(client, 400, start=attempt * 400)
            client.xadd(STREAM, {"snapshot": "broken"})
            sleeper.send(signal.SIGSTOP)
            held = client.xpending(STREAM, GROUP)["pending"]
            if held > 100:
                break
            sleeper.send(signal.SIGCONT)
            await until(lambda: settled(client))
        assert held > 100, "stopped while it held entries"
        broken = attempt + 1
        with ConsumerProcess(url, REGIONS_CONSUMER="other", **QUICK):
            await until(lambda: settled(client), 30)
            written = command_calls(client)["zadd"]
            sleeper.send(signal.SIGCONT)
            # It is awake when it settles something new.
            await until(lambda: waiting(client) >= 4)
            ids += add_many(client, 50, start=90_000)
            await until(lambda: settled(client))
            assert await asyncio.to_thread(sleeper.terminate) == 0
    assert persisted(client, ids) == len(ids)
    assert command_calls(client)["zadd"] == written + 50
    assert written + 50 == len(ids), "each was written once"
    assert client.xlen(DEAD) == broken


async def test_names_that_hold_something_stay(client: redis.Redis, make_road: MakeRoad) -> None:
    road = await make_road(idle_ms=100, retry_s=0)
    add_many(client, 1)
    client.xreadgroup(GROUP, "holds", {STREAM: ">"})
    client.xgroup_createconsumer(STREAM, GROUP, "empty")
    await until(lambda: min(c["idle"] for c in client.xinfo_consumers(STREAM, GROUP)) > 100)
    assert await road.store.sweep() == ["empty"]
    assert _names(client) == {"holds"}


def test_the_scripts_are_where_the_package_is() -> None:
    names = {path.stem for path in (Path(__file__).parents[2] / "consumer").glob("*.lua")}
    assert names == {
        "persist",
        "dead_letter",
        "claim",
        "take",
        "release",
        "sweep",
        "trim",
        "survey",
        "count",
        "replay",
        "discard",
        "restore",
        "letters",
        "find",
    }
