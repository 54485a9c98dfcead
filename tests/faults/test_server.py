"""The server dies, is not there, is full, is a replica, is busy, forgets. Real ones."""

import asyncio
import signal
import time
from collections.abc import Iterator

import pytest
import redis

from bench.servers import KIND, Server
from consumer import keys
from consumer.outcome import Outcome
from producers import samples
from producers.publisher import NotDurable, PublishFailed, RegionPublisher
from tests.faults.test_recovery import add_many, persisted
from tests.kit import (
    DEAD,
    GROUP,
    STREAM,
    ConsumerProcess,
    MakeRoad,
    alive,
    dead_letters,
    settled,
    until,
    waiting,
)

QUICK = {"REGIONS_IDLE_MS": "1000", "REGIONS_RETRY_S": "0.8"}


@pytest.fixture
def own() -> Iterator[Server]:
    """A server of this test's own, which it may kill; on disk before it answers."""
    with Server(appendonly="yes", appendfsync="always") as server:
        yield server


async def test_a_killed_server_comes_back(own: Server) -> None:
    with ConsumerProcess(own.url, **QUICK) as consumer, own.client as client:
        await until(lambda: waiting(client))
        ids: list[str] = []
        took = []
        for round_number in range(3):
            ids += add_many(client, 300, start=round_number * 300)
            await asyncio.to_thread(own.kill)
            own.start()
            back = time.monotonic()
            one = add_many(client, 1, start=10_000 + round_number)
            await until(lambda i=one: persisted(client, i), 20)
            took.append(time.monotonic() - back)
            ids += one
        await until(lambda: settled(client), 20)
        assert persisted(client, ids) == len(ids)
        assert consumer.process.poll() is None
    # The promise itself, the one time that is asserted: it goes on within two seconds. (The
    # median of three, because other tests share this machine.)
    assert sorted(took)[1] < 2, took
    assert sum(client.zcard(keys.index(r)) for r in _regions()) == len(ids)


def _regions() -> tuple[str, ...]:
    from consumer.events import REGIONS

    return REGIONS


async def test_no_server_at_the_start(own: Server) -> None:
    own.kill()
    with ConsumerProcess(own.url, **QUICK) as consumer:
        await until(lambda: "waiting for the server" in consumer.output)
        assert consumer.process.poll() is None
        own.start()
        with own.client as client:
            ids = add_many(client, 8)
            await until(lambda: persisted(client, ids) == 8)
        assert consumer.output.count("waiting for the server") <= 3


async def test_a_stop_while_waiting_for_the_server(own: Server) -> None:
    own.kill()
    with ConsumerProcess(own.url, **QUICK) as consumer:
        await until(lambda: "waiting for the server" in consumer.output)
        assert await asyncio.to_thread(consumer.terminate) == 0, consumer.output


@pytest.mark.parametrize("disaster", ["FLUSHALL", "XGROUP DESTROY", "DEL"])
async def test_the_group_is_made_anew(url: str, client: redis.Redis, disaster: str) -> None:
    with ConsumerProcess(url, **QUICK) as consumer:
        await until(lambda: waiting(client))
        add_many(client, 5)
        await until(lambda: settled(client))
        if disaster == "FLUSHALL":
            client.flushall()
        elif disaster == "DEL":
            client.delete(STREAM)
        else:
            client.xgroup_destroy(STREAM, GROUP)
        # Published while there is no group, or before it is noticed: read all the same.
        ids = add_many(client, 5, start=100)
        await until(lambda: persisted(client, ids) == 5, 10)
        await until(lambda: settled(client))
        assert "made anew" in consumer.output
        assert consumer.process.poll() is None
    assert client.xlen(DEAD) == 0


async def test_a_full_server_loses_nothing(url: str, client: redis.Redis) -> None:
    with ConsumerProcess(url, REGIONS_MAX_DELIVERIES="3", **QUICK):
        await until(lambda: waiting(client))
        with client.pipeline(transaction=True) as pipe:
            for n in range(20):
                document = samples.snapshot("mena", seed=n, evidence=1, trigger_reason=f"r_{n}")
                pipe.xadd(STREAM, {"snapshot": samples.to_json(document)})
            pipe.xadd(STREAM, {"snapshot": "broken"})
            pipe.config_set("maxmemory", "1")
            pipe.execute()
        try:
            # Longer than the retry budget and several idle limits: no entry's count goes up.
            await until(lambda: client.xpending(STREAM, GROUP)["pending"] == 21)
            lasted = time.monotonic() + 5
            await until(lambda: time.monotonic() > lasted)
            rows = client.xpending_range(STREAM, GROUP, "-", "+", 100)
            assert {row["times_delivered"] for row in rows} == {1}
        finally:
            client.config_set("maxmemory", "0")
        await until(lambda: settled(client), 20)
    assert client.zcard(keys.index("mena")) == 20
    (letter,) = dead_letters(client)
    assert letter[b"reason"] == b"undecodable"


async def test_a_replica_is_waited_out(server: Server, url: str, client: redis.Redis) -> None:
    with Server() as primary, ConsumerProcess(url, **QUICK):
        await until(lambda: waiting(client))
        client.replicaof("127.0.0.1", str(primary.port))
        try:
            with primary.client as first:
                await until(lambda: first.info("replication")["connected_slaves"] == 1)
                ids = add_many(first, 5)
                await until(lambda: client.xlen(STREAM) == 5)
        finally:
            client.replicaof("NO", "ONE")
        await until(lambda: client.exists(STREAM) and persisted(client, ids) == 5, 20)
        await until(lambda: settled(client))


async def test_loading(own: Server) -> None:
    """A server that reads its data back refuses everything for a while."""
    with own.client as client:
        with client.pipeline(transaction=False) as pipe:
            for n in range(4000):
                pipe.set(f"ballast:{n}", "x" * 1000)
            pipe.execute()
        client.bgrewriteaof()
        await until(lambda: not _rewriting(client))
        with ConsumerProcess(own.url, **QUICK) as consumer:
            await until(lambda: waiting(client))
            own.kill()
            own.options |= {
                "key-load-delay": "500",
                "loading-process-events-interval-bytes": "2048",
            }
            own.start(wait=False)
            await until(lambda: _says(client, redis.BusyLoadingError))
            await until(lambda: alive(client), 30)
            ids = add_many(client, 8)
            await until(lambda: persisted(client, ids) == 8)
            assert consumer.process.poll() is None


def _rewriting(client: redis.Redis) -> bool:
    info = client.info("persistence")
    return bool(info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])


def _says(client: redis.Redis, kind: type[Exception]) -> bool:
    try:
        client.ping()
    except kind:
        return True
    except redis.RedisError:
        return False
    return False


async def test_busy_with_somebody_s_script(own: Server) -> None:
    with own.client as client:
        client.config_set("busy-reply-threshold", 20)
        with ConsumerProcess(own.url, **QUICK):
            await until(lambda: waiting(client))
            ids = add_many(client, 4)
            await until(lambda: persisted(client, ids) == 4)

            def hog() -> None:
                with own.client as other, pytest.raises(redis.ResponseError, match="killed"):
                    other.eval("while true do end", 0)

            hogging = asyncio.create_task(asyncio.to_thread(hog))
            await until(lambda: _is_busy(client))
            lasted = time.monotonic() + 1
            await until(lambda: time.monotonic() > lasted)
            client.script_kill()
            await hogging
            ids = add_many(client, 4, start=50)
            await until(lambda: persisted(client, ids) == 4)
            await until(lambda: settled(client))


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


async def test_forgotten_scripts_are_told_again(url: str, client: redis.Redis) -> None:
    with ConsumerProcess(url, **QUICK) as consumer:
        await until(lambda: waiting(client))
        for start in (0, 100):
            client.script_flush()
            ids = add_many(client, 20, start=start)
            client.xadd(STREAM, {"snapshot": "broken"})
            await until(lambda i=ids: persisted(client, i) == 20)
            await until(lambda: settled(client))
        assert '"retries"' not in consumer.output
    assert client.xlen(DEAD) == 2


@pytest.mark.parametrize("everything", [True, False])
async def test_a_paused_server(url: str, client: redis.Redis, everything: bool) -> None:
    """CLIENT PAUSE, of all commands and of writes alone (reads of a group are writes too)."""
    with ConsumerProcess(url, **QUICK):
        await until(lambda: waiting(client))
        ids = add_many(client, 4)
        client.client_pause(2500, all=everything)
        await until(lambda: persisted(client, ids) == 4)
        await until(lambda: settled(client))


async def test_a_frozen_server(own: Server) -> None:
    """Stopped in the middle, longer than any timeout of ours; nothing is doubled."""
    with own.client as client, ConsumerProcess(own.url, **QUICK) as consumer:
        await until(lambda: waiting(client))
        ids = add_many(client, 500)
        own.signal(signal.SIGSTOP)
        await until(lambda: "Timeout" in consumer.output or "timed out" in consumer.output.lower())
        own.signal(signal.SIGCONT)
        await until(lambda: persisted(client, ids) == 500, 30)
        await until(lambda: settled(client), 30)
        assert sum(client.zcard(keys.index(r)) for r in _regions()) == 500


async def test_no_permission_ends_in_a_clear_dead_letter(
    make_road: MakeRoad, client: redis.Redis, server: Server
) -> None:
    """One region's keys are closed to us: the others are written, this one is tried, then told."""
    everything_but = ["~region-events*", "~dedup:*", "~intelligence:snapshot-by-id:*"]
    for region in _regions():
        if region != "latam":
            everything_but += [f"~{keys.index(region)}", f"~intelligence:snapshot:v1:{region}:*"]
    client.acl_setuser(
        "narrow", enabled=True, passwords=["+secret"], commands=["+@all"],
        keys=[k.removeprefix("~") for k in everything_but],
    )  # fmt: skip
    road = await make_road(
        redis_url=f"redis://narrow:secret@127.0.0.1:{server.port}/0", idle_ms=150, retry_s=0.1,
        max_deliveries=3,
    )  # fmt: skip
    for document in samples.cycle():
        road.add(document)
    outcomes = [s.outcome for s in await road.pipeline.process(road.deliver())]
    assert outcomes.count(Outcome.PERSISTED) == 7
    assert outcomes.count(Outcome.RETRY) == 1

    from consumer.recovery import Recovery

    recovery = Recovery(road.store, road.pipeline, road.settings)
    await until(lambda: _claims(recovery, client), 20)
    (letter,) = dead_letters(client)
    assert (letter[b"reason"], letter[b"region"]) == (b"attempts_exhausted", b"latam")
    assert (letter[b"error_type"], letter[b"deliveries"]) == (b"NOPERM", b"3")
    assert b"secret" not in b"".join(letter.values()).replace(b"secretion", b"")
    client.acl_deluser("narrow")


async def _claims(recovery: object, client: redis.Redis) -> bool:
    await recovery.claim_all()  # type: ignore[attr-defined]
    return bool(client.xlen(DEAD))


async def test_published_ids_are_there_after_the_server_died(own: Server) -> None:
    """Every id that publish returned is in the stream: appendfsync always, kills in between."""
    returned: list[str] = []
    stop = asyncio.Event()

    async def publish() -> None:
        async with RegionPublisher(own.url, retry_s=30) as publisher:
            n = 0
            while not stop.is_set():
                n += 1
                returned.extend(
                    await publisher.publish([samples.snapshot("mena", seed=n, evidence=1)] * 4)
                )

    publishing = asyncio.create_task(publish())
    for _ in range(4):
        before = len(returned)
        await until(lambda n=before: len(returned) > n + 40)
        await asyncio.to_thread(own.kill)
        await asyncio.to_thread(own.start)
    before = len(returned)
    await until(lambda: len(returned) > before)
    stop.set()
    await publishing
    with own.client as client:
        there = {entry_id.decode() for entry_id, _ in client.xrange(STREAM)}
    assert set(returned) <= there


async def test_durable_publishing_waits_for_the_disk(own: Server) -> None:
    async with RegionPublisher(own.url, durable=True) as publisher:
        if KIND == "redis":  # Debian's 7.0 has no WAITAOF
            with pytest.raises(NotDurable, match="has no WAITAOF"):
                await publisher.publish(samples.cycle())
            with own.client as client:
                assert not client.exists(STREAM)
            return
        ids = await publisher.publish(samples.cycle())
    own.kill()
    own.start()
    with own.client as client:
        assert [i.decode() for i, _ in client.xrange(STREAM)] == ids


async def test_durable_says_when_the_file_is_off(url: str) -> None:
    async with RegionPublisher(url, durable=True) as publisher:
        with pytest.raises(NotDurable, match=r"nothing was sent"):
            await publisher.publish(samples.cycle())


async def test_publishing_waits_for_room(url: str, client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")
    try:
        async with RegionPublisher(url, retry_s=0.3) as publisher:
            with pytest.raises(PublishFailed, match="OOM"):
                await publisher.publish(samples.cycle())
        async with RegionPublisher(url, retry_s=20) as publisher:
            publishing = asyncio.create_task(publisher.publish(samples.cycle()))
            await until(lambda: client.info("errorstats").get("errorstat_OOM"))
            client.config_set("maxmemory", "0")
            assert len(await publishing) == 8
    finally:
        client.config_set("maxmemory", "0")
    assert client.xlen(STREAM) == 8, "the refused transactions left nothing behind"
