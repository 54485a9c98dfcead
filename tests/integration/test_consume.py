"""From the stream to the keys: the writes, the outcomes, and what they cost."""

import asyncio
import json
import signal
import time
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from bench.proxy import Proxy
from bench.servers import Server
from consumer import keys
from consumer.decode import Entry, RegionEvent, decode
from consumer.events import REGIONS
from consumer.link import Link
from consumer.outcome import Outcome
from consumer.settings import Settings
from otel import instruments as names
from otel.inbox import Inbox
from producers import samples
from producers.publisher import RegionPublisher
from tests.kit import (
    DEAD,
    GROUP,
    STREAM,
    ConsumerProcess,
    MakeRoad,
    command_calls,
    consuming,
    dead_letters,
    settings_for,
    settled,
    until,
    waiting,
)

DAY_S = 86_400


async def test_every_key_of_every_region(url: str, client: redis.Redis) -> None:
    cycle = samples.cycle()
    raws = [samples.to_json(document) for document in cycle]
    for region in REGIONS:
        client.set(keys.live(region), "a cache of yesterday")
    async with consuming(settings_for(url)), RegionPublisher(url) as publisher:
        await publisher.publish(raws)
        await until(lambda: settled(client))
    for document, raw in zip(cycle, raws, strict=True):
        region, at = document["region_id"], document["generated_at"]
        snapshot_id = document["meta"]["snapshot_id"]
        dedup = f"dedup:snapshot:v1:{region}:scheduled_6h:{at // 900_000}"
        assert client.get(dedup) == snapshot_id.encode()
        assert 890 < client.ttl(dedup) <= 900
        for name in (
            f"intelligence:snapshot:v1:{region}:{at}",
            f"intelligence:snapshot-by-id:v1:{snapshot_id}",
        ):
            assert client.get(name) == raw
            assert 90 * DAY_S - 10 < client.ttl(name) <= 90 * DAY_S
        latest = f"intelligence:snapshot:v1:{region}:latest"
        assert client.get(latest) == snapshot_id.encode()
        assert 90 * DAY_S - 10 < client.ttl(latest) <= 90 * DAY_S
        index = f"intelligence:snapshot-index:v1:{region}"
        assert client.type(index) == b"zset"
        assert client.ttl(index) == -1
        assert client.zrange(index, 0, -1, withscores=True) == [(snapshot_id.encode(), at)]
        assert not client.exists(f"intelligence:snapshot:v1:{region}:live")
        # A reader that was there before us:
        assert client.get("intelligence:snapshot-by-id:v1:" + client.get(latest).decode()) == raw
    named = {STREAM.encode(), b"dedup", b"intelligence"}
    assert {name.split(b":")[0] for name in client.scan_iter()} == named
    assert client.dbsize() == 2 + 5 * len(REGIONS), "the stream, its journal, and five each"


async def test_a_cycle_costs_one_delivering_read_and_no_round_trip_per_region(
    url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So long a BLOCK that a read is sent again only when the one before it brought something.
    monkeypatch.setattr("consumer.stream.BLOCK_MS", 4000)
    async with consuming(settings_for(url)), RegionPublisher(url) as publisher:
        await until(lambda: waiting(client) == 3, what="all subscribers wait")
        before = command_calls(client)
        await publisher.publish(samples.cycle())
        await until(lambda: client.xpending(STREAM, GROUP)["pending"] == 0)
        await until(lambda: waiting(client) == 3, what="all wait again")
        after = command_calls(client)
    calls = {name: after[name] - before.get(name, 0) for name in after}
    assert (calls["multi"], calls["exec"]) == (1, 1)
    assert calls["xadd"] == 8 + 1, "and one line in the journal"
    assert calls["xreadgroup"] == 1, "one delivered all eight, and was sent again"
    housekeeping = sum(
        calls.get(name, 0) for name in ("xautoclaim", "xinfo|consumers", "xinfo|groups")
    )
    assert calls["evalsha"] - housekeeping == 8
    assert calls["xack"] == 8


async def test_a_batch_is_one_round_trip(
    server: Server, client: redis.Redis, make_road: MakeRoad
) -> None:
    """Counted on the wire: how often the client spoke again after an answer."""
    with Proxy(server.port) as proxy:
        road = await make_road(redis_url=proxy.url)
        for document in samples.cycle():
            road.add(document)
        entries = road.deliver()
        before = proxy.round_trips
        assert len(await road.pipeline.process(entries)) == 8
        assert proxy.round_trips - before == 1


async def test_outcomes(make_road: MakeRoad, client: redis.Redis) -> None:
    road = await make_road()
    now = time.time_ns() // 1_000_000
    newest = samples.snapshot("mena", now)
    older = samples.snapshot("mena", now - 3_600_000)
    again = samples.snapshot("mena", now)
    newest_id = newest["meta"]["snapshot_id"]
    for document in (newest, older, again, newest):
        road.add(document)
    road.add(b"nonsense")
    outcomes = await road.run()
    assert outcomes[:4] == [
        (Outcome.PERSISTED, newest_id),
        (Outcome.SUPERSEDED, newest_id),
        (Outcome.DUPLICATE, newest_id),
        (Outcome.REDELIVERED, newest_id),
    ]
    assert outcomes[4][0] is Outcome.DEAD_LETTERED
    assert client.get(keys.latest("mena")) == newest_id.encode()
    assert client.zcard(keys.index("mena")) == 2
    assert not client.exists(keys.by_id(again["meta"]["snapshot_id"]))
    assert client.xpending(STREAM, GROUP)["pending"] == 0


async def test_retry_leaves_the_entry_pending(make_road: MakeRoad, client: redis.Redis) -> None:
    """A server that is full: nothing of the event is lost, and it is written when there is room."""
    road = await make_road(retry_s=0.2, idle_ms=300)
    road.add(samples.snapshot("mena"))
    entries = road.deliver()
    client.config_set("maxmemory", 1)
    try:
        settled = await road.pipeline.process(entries)
        assert [s.outcome for s in settled] == [Outcome.RETRY]
        assert settled[0].trouble is not None
        assert settled[0].trouble.code == "OOM"
        assert road.batches[0].retried
        assert client.xpending(STREAM, GROUP)["pending"] == 1
    finally:
        client.config_set("maxmemory", 0)
    assert not client.exists(keys.latest("mena"))
    (settled_now,) = await road.pipeline.process(entries)
    assert settled_now.outcome is Outcome.PERSISTED


async def test_once_stays_once_after_the_dedup_window(
    make_road: MakeRoad, client: redis.Redis
) -> None:
    road = await make_road()
    document = samples.snapshot("europe")
    road.add(document)
    await road.run()
    client.delete(keys.dedup("europe", "scheduled_6h", document["generated_at"]))
    road.add(document)
    ((outcome, _),) = await road.run()
    assert outcome is Outcome.REDELIVERED


async def test_entries_past_ninety_days_leave_the_index(
    make_road: MakeRoad, client: redis.Redis
) -> None:
    road = await make_road()
    now = time.time_ns() // 1_000_000
    client.zadd(
        keys.index("mena"), {"ancient": now - 91 * 86_400_000, "old": now - 89 * 86_400_000}
    )
    road.add(samples.snapshot("mena", now, seed=5))
    await road.run()
    assert b"ancient" not in client.zrange(keys.index("mena"), 0, -1)
    assert b"old" in client.zrange(keys.index("mena"), 0, -1)


async def naive(client: redis.Redis, event: RegionEvent) -> str:
    """What it replaces: mark, then write. Two round trips, and a hole between them."""
    facts = event.facts
    mark = keys.dedup(facts.region, facts.trigger_reason, facts.generated_at)
    if not client.set(mark, facts.snapshot_id, nx=True, ex=900):
        return "duplicate"
    with client.pipeline(transaction=True) as pipe:
        pipe.set(keys.snapshot(facts.region, facts.generated_at), event.raw, ex=100)
        pipe.zadd(keys.index(facts.region), {facts.snapshot_id: facts.generated_at})
        pipe.set(keys.by_id(facts.snapshot_id), event.raw, ex=100)
        pipe.execute()
    return "persisted"


async def test_a_failed_write_marks_nothing_and_takes_nobody_along(
    make_road: MakeRoad, client: redis.Redis
) -> None:
    road = await make_road()
    client.set(keys.index("latam"), "a string where the index should be")
    cycle = samples.cycle()
    for document in cycle:
        road.add(document)
    entries = road.deliver()
    latam = next(d for d in cycle if d["region_id"] == "latam")

    settled = await road.pipeline.process(entries)
    assert sum(s.outcome is Outcome.PERSISTED for s in settled) == 7
    (dead,) = [s for s in settled if s.outcome is Outcome.DEAD_LETTERED]
    assert dead.event.region == "latam"
    assert dead.fault is not None
    assert (dead.fault.reason, dead.fault.error_type) == ("rejected_by_server", "WRONGTYPE")
    mark = keys.dedup("latam", "scheduled_6h", latam["generated_at"])
    assert not client.exists(mark)
    assert not client.exists(keys.by_id(latam["meta"]["snapshot_id"]))
    assert client.xpending(STREAM, GROUP)["pending"] == 0

    # The key is mended, the letter is sent again: ours writes it.
    client.delete(keys.index("latam"))
    (letter,) = dead_letters(client)
    road.add(letter[b"event.snapshot"])
    assert (await road.run())[0][0] is Outcome.PERSISTED


async def test_the_naive_way_loses_that_region(url: str, client: redis.Redis) -> None:
    client.set(keys.index("latam"), "a string where the index should be")
    event = decode(
        Entry("1-0", {b"snapshot": samples.to_json(samples.snapshot("latam"))}),
        settings_for(url).rules,
        time.time_ns() // 1_000_000,
    )
    assert isinstance(event, RegionEvent)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await naive(client, event)
    client.delete(keys.index("latam"))
    assert await naive(client, event) == "duplicate"
    assert not client.zcard(keys.index("latam")), "the retry was taken for a duplicate: lost"


async def test_events_published_before_the_first_start_are_read(
    url: str, client: redis.Redis
) -> None:
    async with RegionPublisher(url) as publisher:
        await publisher.publish(samples.cycle())
    async with consuming(settings_for(url)):
        await until(lambda: settled(client))
    assert client.exists(*map(keys.latest, REGIONS)) == 8


async def test_three_processes_share_ten_thousand_events(url: str, client: redis.Redis) -> None:
    total = 10_000
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    now = time.time_ns() // 1_000_000
    template = samples.snapshot("mena", now, seed=1, evidence=2)
    with ExitStack() as stack:
        inbox = stack.enter_context(Inbox())
        for name in ("one", "two", "three"):
            stack.enter_context(
                ConsumerProcess(url, REGIONS_CONSUMER=name, OTEL_EXPORTER_OTLP_ENDPOINT=inbox.url)
            )
        await until(lambda: waiting(client) == 9, 30, "three consumers with three reads each")
        async with RegionPublisher(url) as publisher:
            for start in range(0, total, 500):
                await publisher.publish(_many(template, now, start, 500))
        await until(lambda: settled(client), 60, "everything settled")
        await until(lambda: len(_by_consumer(inbox)) == 3, what="each consumer took part")
        calls = command_calls(client)
    assert calls["xack"] == total
    # Each was written exactly once: an index entry and a document, and a write for each.
    assert sum(client.zcard(keys.index(region)) for region in REGIONS) == total
    assert calls["zadd"] == total
    assert client.xlen(DEAD) == 0


def _by_consumer(inbox: Inbox) -> set[str]:
    return {s.attributes[names.CLIENT_ID] for s in inbox.spans if s.kind == "CONSUMER"}


def _many(template: dict[str, Any], now: int, start: int, count: int) -> list[dict[str, Any]]:
    made = []
    for n in range(start, start + count):
        document = json.loads(json.dumps(template))
        document["region_id"] = REGIONS[n % 8]
        document["generated_at"] = now - n * 900_000 // 8
        document["meta"]["snapshot_id"] = f"many-{n}"
        document["meta"]["trigger_reason"] = f"reason_{n}"
        made.append(document)
    return made


async def test_sigterm_ends_with_status_0(url: str, client: redis.Redis) -> None:
    with ConsumerProcess(url) as consumer:
        await until(lambda: waiting(client))
        assert await asyncio.to_thread(consumer.terminate) == 0, consumer.output
    assert client.xinfo_consumers(STREAM, GROUP) == []


async def test_faststream_run_is_the_same_consumer(url: str, client: redis.Redis) -> None:
    import sys
    from pathlib import Path

    faststream = str(Path(sys.executable).parent / "faststream")
    with ConsumerProcess(url, faststream, "run", "consumer.app:app") as consumer:
        async with RegionPublisher(url) as publisher:
            await publisher.publish(samples.cycle())
        await until(lambda: settled(client), 30, consumer.output)
        consumer.send(signal.SIGTERM)
        assert await asyncio.to_thread(consumer.process.wait, 20) == 0, consumer.output
    assert client.exists(*map(keys.latest, REGIONS)) == 8


async def test_a_link_serves_many_at_once(link: Link) -> None:
    answers = await asyncio.gather(*(link.one("ECHO", str(n)) for n in range(50)))
    assert answers == [str(n).encode() for n in range(50)]


def test_settings_stay_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().batch = 1  # type: ignore[misc]
