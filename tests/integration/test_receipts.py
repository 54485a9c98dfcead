"""Receipts: a producer learns what became of its events."""

import asyncio

import pytest
import redis

from bench.proxy import Proxy
from bench.servers import Server
from consumer.journal import journal_of
from producers import samples
from producers.publisher import RegionPublisher
from producers.receipts import Receipt
from tests.kit import STREAM, ConsumerProcess, command_calls, regions, said, settled, until


async def test_what_became_of_each(url: str, client: redis.Redis) -> None:
    with ConsumerProcess(url):
        async with RegionPublisher(url) as publisher:
            documents = samples.cycle()
            told = await publisher.publish(documents, wait=True)
            assert [one.outcome for one in told] == ["persisted"] * 8
            assert [one.region for one in told] == [d["region_id"] for d in documents]
            assert all(one.ok for one in told)
            older = samples.snapshot("mena", documents[0]["generated_at"] - 7_200_000)
            rival = samples.snapshot("latam", documents[5]["generated_at"])
            told = await publisher.publish([documents[1], older, rival], wait=True)
            assert [one.outcome for one in told] == ["redelivered", "superseded", "duplicate"]
            client.delete("intelligence:snapshot-index:v1:europe")
            client.set("intelligence:snapshot-index:v1:europe", "in the way")
            (dead,) = await publisher.publish(
                [samples.snapshot("europe", documents[2]["generated_at"] + 900_000)], wait=True
            )
            assert (dead.outcome, dead.why, dead.ok) == (
                "dead_lettered",
                "rejected_by_server",
                False,
            )
            assert client.xrange("region-events:dead", dead.other, dead.other)


async def test_a_link_that_breaks_while_waiting_loses_no_receipt(
    server: Server, client: redis.Redis
) -> None:
    with Proxy(server.port) as proxy:
        async with RegionPublisher(proxy.url) as publisher:
            documents = samples.cycle()
            asked = asyncio.create_task(publisher.publish(documents, wait=True, timeout_s=60))
            await until(lambda: any(c["cmd"] == "xread" for c in client.client_list()))
            proxy.refusing = True
            proxy.cut()
            with ConsumerProcess(server.url):
                await until(lambda: client.exists(f"{STREAM}:settled"))
                proxy.refusing = False
                assert [one.outcome for one in await asked] == ["persisted"] * 8


async def test_a_wait_ends(url: str, client: redis.Redis) -> None:
    async with RegionPublisher(url) as publisher:
        told = await publisher.publish([samples.snapshot("mena")], wait=True, timeout_s=0.2)
        assert told == [Receipt(told[0].entry_id)]
        assert not told[0].ok


async def test_one_read_for_all_and_none_for_those_who_do_not_ask(
    url: str, client: redis.Redis
) -> None:
    with ConsumerProcess(url):
        await until(lambda: client.exists(STREAM))
        async with RegionPublisher(url) as publisher:
            client.config_resetstat()
            await publisher.publish(samples.cycle())
            await until(lambda: settled(client))
            calls = command_calls(client)
            assert "xread" not in calls
            documents = [
                samples.snapshot("mena", at * 900_000 + 1_700_000_000_000) for at in range(300)
            ]
            await publisher.publish(documents, wait=True)
            reads = command_calls(client)["xread"]
            assert reads <= 300 / 10, "by batch, not by event"


async def test_the_command(url: str, client: redis.Redis) -> None:
    lines = b"\n".join(map(samples.to_json, samples.cycle()))
    with ConsumerProcess(url):
        await until(lambda: client.exists(STREAM))
        done = await asyncio.to_thread(
            regions, "publish", "-", "--wait", "--json", given=lines, REDIS_URL=url
        )
        report = said(done)
        assert done.returncode == 0
        assert [one["outcome"] for one in report["receipts"]] == ["persisted"] * 8
        done = await asyncio.to_thread(
            regions, "publish", "-", "--wait", given=lines, REDIS_URL=url
        )
        assert done.stdout.decode().count("redelivered") == 8
    done = regions("publish", "-", "--wait", "--timeout", "0.2", given=lines, REDIS_URL=url)
    assert done.returncode == 1
    assert done.stdout.decode().count("not settled in time") == 8


async def test_a_journal_of_nonsense_is_no_trouble(url: str, client: redis.Redis) -> None:
    with ConsumerProcess(url):
        await until(lambda: client.exists(STREAM))
        for nonsense in (
            {"rows": "{"},
            {"x": "y"},
            {"consumer": "c", "at": "1", "ms": "1", "rows": "[[1]]"},
        ):
            client.xadd(journal_of(STREAM), nonsense)
        async with RegionPublisher(url) as publisher:
            asked = asyncio.create_task(publisher.publish([samples.snapshot("mena")], wait=True))
            client.xadd(journal_of(STREAM), {"rows": "{"})
            assert (await asked)[0].ok


async def test_a_journal_that_cannot_be_written_costs_no_event(
    url: str, client: redis.Redis
) -> None:
    client.set(journal_of(STREAM), "in the way")
    with ConsumerProcess(url) as consumer:
        await until(lambda: client.exists(STREAM))
        async with RegionPublisher(url) as publisher:
            await publisher.publish(samples.cycle())
            await until(lambda: settled(client))
            assert client.exists("intelligence:snapshot:v1:mena:latest")
            await until(lambda: client.info("commandstats")["cmdstat_xadd"]["failed_calls"])
            client.delete(journal_of(STREAM))
            await publisher.publish(samples.cycle())
        await until(lambda: "the journal has a gap of 8 events" in consumer.output)
        assert consumer.terminate() == 0


@pytest.mark.parametrize("retain", ["1"])
async def test_the_journal_goes_with_the_retention(
    retain: str, url: str, client: redis.Redis
) -> None:
    old = f"{1_600_000_000_000}-0"
    for number in range(300):  # whole nodes go
        client.xadd(journal_of(STREAM), {"rows": "x" * 100}, id=f"{1_600_000_000_000 + number}-0")
    with ConsumerProcess(url, REGIONS_RETAIN_S=retain):
        async with RegionPublisher(url) as publisher:
            await until(lambda: client.exists(STREAM))
            await publisher.publish([samples.snapshot("mena")], wait=True)
            assert not client.xrange(journal_of(STREAM), old, old)
