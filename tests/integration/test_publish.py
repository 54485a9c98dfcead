"""Publishing: in one transaction or not at all, from any client."""

import asyncio
import json
import shutil
import socket
import subprocess
import time
from typing import Any

import pytest
import redis
from faststream.redis import RedisBroker

from bench.servers import free_port
from consumer import keys
from consumer.events import REGIONS
from producers import samples
from producers.publisher import InvalidSnapshots, PublishFailed, RegionPublisher
from tests.kit import STREAM, command_calls, consuming, settings_for, settled, until


async def test_a_cycle_is_one_transaction(url: str, client: redis.Redis) -> None:
    async with RegionPublisher(url) as publisher:
        ids = await publisher.publish(samples.cycle())
    assert [i.decode() for i, _ in client.xrange(STREAM)] == ids
    calls = command_calls(client)
    assert (calls["multi"], calls["xadd"], calls["exec"]) == (1, 8, 1)
    cycles = {fields[b"cycle"] for _, fields in client.xrange(STREAM)}
    assert len(cycles) == 1


async def test_more_than_a_transaction_goes_in_several(url: str, client: redis.Redis) -> None:
    documents = [samples.snapshot("mena", seed=n, evidence=1) for n in range(25)]
    async with RegionPublisher(url, transaction=10) as publisher:
        ids = await publisher.publish(documents, cycle="today")
    assert len(set(ids)) == 25
    assert command_calls(client)["exec"] == 3
    entries = client.xrange(STREAM)
    assert [json.loads(f[b"snapshot"]) for _, f in entries] == documents
    assert {f[b"cycle"] for _, f in entries} == {b"today"}


async def test_bytes_text_and_mappings(url: str, client: redis.Redis) -> None:
    document = samples.snapshot("mena")
    spaced = json.dumps(document, indent=1)
    async with RegionPublisher(url) as publisher:
        await publisher.publish([spaced.encode(), spaced, document])
    first, second, third = (fields[b"snapshot"] for _, fields in client.xrange(STREAM))
    assert first == second == spaced.encode()
    assert third == samples.to_json(document)


async def test_one_invalid_and_nothing_is_sent(url: str, client: redis.Redis) -> None:
    cycle = samples.cycle()
    del cycle[3]["meta"]["snapshot_id"]
    async with RegionPublisher(url) as publisher:
        with pytest.raises(InvalidSnapshots, match=r"snapshot 3: meta\.snapshot_id") as caught:
            await publisher.publish(cycle)
    assert [position for position, _ in caught.value.faults] == [3]
    assert not client.exists(STREAM)


async def test_nobody_there(url: str) -> None:
    async with RegionPublisher(f"redis://127.0.0.1:{free_port()}/0", retry_s=0.3) as publisher:
        with pytest.raises(PublishFailed, match="not published within"):
            await publisher.publish(samples.cycle())


async def test_a_refusal_is_told(url: str, client: redis.Redis) -> None:
    client.set(STREAM, "a string in the way")
    async with RegionPublisher(url) as publisher:
        with pytest.raises(PublishFailed, match=r"WRONGTYPE|wrong kind"):
            await publisher.publish(samples.cycle())


def plain_xadd(url: str, *arguments: str) -> str:
    """`redis-cli XADD region-events '*' snapshot '{…}'`, or the same bytes where it is not."""
    port = url.rpartition(":")[2].partition("/")[0]
    cli = shutil.which("redis-cli")
    if cli:
        command = [cli, "-p", port, "XADD", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    parts = [part.encode() for part in ("XADD", *arguments)]
    request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(request)
        return connection.recv(100).split(b"\r\n")[1].decode()


async def test_redis_cli_is_a_complete_producer(url: str, client: redis.Redis) -> None:
    raw = samples.to_json(samples.snapshot("mena", evidence=3)).decode()
    async with consuming(settings_for(url)):
        entry_id = plain_xadd(url, STREAM, "*", "snapshot", raw)
        await until(lambda: settled(client))
    assert client.xrange(STREAM)[0][0].decode() == entry_id
    assert client.get(keys.by_id(json.loads(raw)["meta"]["snapshot_id"])) == raw.encode()


async def test_a_faststream_app_is_a_producer(url: str, client: redis.Redis) -> None:
    """Its envelope (`__data__`), and its way of writing JSON, are accepted as they are."""
    cycle = samples.cycle()
    async with consuming(settings_for(url)), RedisBroker(url) as broker:
        for document in cycle:
            await broker.publish(document, stream=STREAM)
        await broker.publish(
            samples.to_json(samples.snapshot("mena", 1_700_000_000_000)), stream=STREAM
        )
        await until(lambda: settled(client))
    assert b"__data__" in client.xrange(STREAM)[0][1]
    for document in cycle:
        raw = client.get(keys.by_id(document["meta"]["snapshot_id"]))
        assert json.loads(raw) == document
    assert client.exists(*map(keys.latest, REGIONS)) == 8


async def test_it_goes_on_when_the_link_comes_back(url: str, client: redis.Redis) -> None:
    """The server hangs up in the middle: the publisher connects again and sends it again."""
    async with RegionPublisher(url) as publisher:
        await publisher.publish(samples.cycle())
        stop = asyncio.Event()

        async def hang_up() -> None:
            while not stop.is_set():
                await asyncio.to_thread(client.client_kill_filter, _type="normal", skipme=True)
                await asyncio.sleep(0.005)

        killer = asyncio.create_task(hang_up())
        published: list[Any] = []
        started = time.monotonic()
        while time.monotonic() - started < 1 or len(published) < 5:
            published += await publisher.publish(samples.cycle())
        stop.set()
        await killer
    assert {i.encode() for i in published} <= {i for i, _ in client.xrange(STREAM)}
