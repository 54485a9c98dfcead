"""The link is cut, half open, slow, or breaks in the middle of a pipeline."""

import asyncio
import time

import pytest
import redis

from bench.proxy import Proxy
from bench.servers import Server
from consumer import keys
from consumer.events import REGIONS
from producers.publisher import RegionPublisher
from tests.faults.test_recovery import add_many, persisted
from tests.kit import DEAD, ConsumerProcess, command_calls, settled, until, waiting

QUICK = {"REGIONS_IDLE_MS": "1500", "REGIONS_RETRY_S": "1"}
NOISY = {"REGIONS_LOG_LEVEL": "INFO"}


def written(client: redis.Redis) -> int:
    return sum(client.zcard(keys.index(region)) for region in REGIONS)


async def test_a_cut_link(server: Server, client: redis.Redis) -> None:
    with Proxy(server.port) as proxy, ConsumerProcess(proxy.url, **QUICK):
        await until(lambda: waiting(client))
        ids: list[str] = []
        for start in range(0, 1500, 100):
            ids += add_many(client, 100, start=start)
            proxy.cut()
        await until(lambda: settled(client), 30)
    assert persisted(client, ids) == len(ids) == written(client)
    assert client.xlen(DEAD) == 0


async def test_a_pipeline_cut_in_the_middle(server: Server, client: redis.Redis) -> None:
    """Half of a batch's commands reach the server, and no answer comes back."""
    with Proxy(server.port) as proxy, ConsumerProcess(proxy.url, **QUICK):
        await until(lambda: waiting(client))
        ids: list[str] = []
        for round_number in range(5):
            proxy.bytes_until_cut = 60_000 + round_number * 9_000
            ids += add_many(client, 200, start=round_number * 200)
            await until(lambda: settled(client), 30)
            assert proxy.bytes_until_cut is None, "it was cut"
    assert persisted(client, ids) == len(ids) == written(client)


async def test_a_half_open_link(server: Server, client: redis.Redis) -> None:
    """It accepts and never answers: timeouts, backoff, no hot loop; then it goes on."""
    with Proxy(server.port) as proxy, ConsumerProcess(proxy.url, **QUICK) as consumer:
        await until(lambda: waiting(client))
        ids = add_many(client, 50)
        await until(lambda: settled(client))
        proxy.silent = True
        ids += add_many(client, 50, start=100)
        await until(lambda: "cannot read" in consumer.output)
        proxy.silent = False
        proxy.cut()
        await until(lambda: persisted(client, ids) == 100, 30)
        await until(lambda: settled(client), 30)
    assert written(client) == 100


async def test_a_slow_link(server: Server, client: redis.Redis) -> None:
    with Proxy(server.port, delay_s=0.3) as proxy, ConsumerProcess(proxy.url, **QUICK):
        await until(lambda: waiting(client), 30)
        ids = add_many(client, 300)
        await until(lambda: settled(client), 60)
    assert persisted(client, ids) == 300 == written(client)


@pytest.mark.parametrize("fault", ["refusing", "gone", "readonly"])
async def test_no_hot_loop(server: Server, client: redis.Redis, fault: str) -> None:
    """While nothing can be read: few commands, few connections, few log lines a second."""
    seconds = 4
    with (
        Server() as primary,
        Proxy(server.port) as proxy,
        ConsumerProcess(proxy.url, **QUICK) as consumer,
    ):
        await until(lambda: waiting(client))
        if fault == "refusing":
            proxy.refusing = True
            proxy.cut()
        elif fault == "gone":
            proxy.target = 1  # nobody listens there
            proxy.cut()
        else:
            client.replicaof("127.0.0.1", str(primary.port))
        try:
            await until(lambda: "cannot read" in consumer.output)
            connections, lines = proxy.connections, len(consumer.output.splitlines())
            calls = sum(command_calls(client).values())
            ends = time.monotonic() + seconds
            await until(lambda: time.monotonic() > ends)
            assert proxy.connections - connections <= 10 * seconds
            assert sum(command_calls(client).values()) - calls <= 50 * seconds
            assert len(consumer.output.splitlines()) - lines <= 2 * seconds
        finally:
            client.replicaof("NO", "ONE")
        proxy.refusing, proxy.target = False, server.port
        ids = add_many(client, 5, start=500)
        await until(lambda: persisted(client, ids) == 5, 20)


async def test_publishing_through_cuts(server: Server, client: redis.Redis) -> None:
    """Every id that publish returned is in the stream; what was sent twice is written once."""
    returned: list[str] = []
    with Proxy(server.port) as proxy, ConsumerProcess(server.url, **QUICK):
        stop = asyncio.Event()

        async def cutting() -> None:
            while not stop.is_set():
                proxy.cut()
                await asyncio.sleep(0.03)

        cutter = asyncio.create_task(cutting())
        async with RegionPublisher(proxy.url, retry_s=20) as publisher:
            from producers import samples

            published = []
            for n in range(60):
                cycle = samples.cycle(seed=n, evidence=1)
                for document in cycle:
                    document["meta"]["trigger_reason"] = f"r_{n}"
                published += [document["meta"]["snapshot_id"] for document in cycle]
                returned += await publisher.publish(cycle)
        stop.set()
        await cutter
        await until(lambda: settled(client), 20)
    there = {entry_id.decode() for entry_id, _ in client.xrange("region-events")}
    assert set(returned) <= there
    assert persisted(client, published) == len(published) == written(client)
