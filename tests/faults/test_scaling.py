"""A backlog, out from one consumer to four, and back to one: real processes, behind a link of
20 ms, where the wait is what limits one of them."""

import time
from contextlib import ExitStack

import redis

from bench.proxy import long_link
from bench.servers import Server
from producers import samples
from tests.kit import DEAD, GROUP, STREAM, ConsumerProcess, settled, until

BACKLOG = 6000
SMALL = {"REGIONS_BATCH": "10", "REGIONS_SUBSCRIBERS": "1"}


def publish(client: redis.Redis, count: int, start: int) -> list[str]:
    """Unique snapshots; returns their ids."""
    pipe = client.pipeline(transaction=False)
    made = []
    for number in range(start, start + count):
        document = samples.snapshot("mena", 1_700_000_000_000 + number * 900_000)
        made.append(document["meta"]["snapshot_id"])
        pipe.xadd(STREAM, {"snapshot": samples.to_json(document)})
    pipe.execute()
    return made


def done(client: redis.Redis) -> int:
    info = client.xinfo_groups(STREAM)[0]
    return int(info["entries-read"] or 0) - int(info["pending"])


async def rate(client: redis.Redis, count: int) -> float:
    """Events a second while so many are settled."""
    before, started = done(client), time.monotonic()
    await until(lambda: done(client) >= before + count, 60)
    return count / (time.monotonic() - started)


async def test_out_to_four_and_back_to_one(server: Server, client: redis.Redis) -> None:
    made = publish(client, BACKLOG, 0)
    with ExitStack() as stack:
        url = stack.enter_context(long_link(server.port, 0.02))
        first = stack.enter_context(ConsumerProcess(url, REGIONS_CONSUMER="c1", **SMALL))
        await until(
            lambda: client.exists(STREAM) and client.xinfo_groups(STREAM) and done(client) > 100
        )
        alone = await rate(client, 400)
        others = [
            stack.enter_context(ConsumerProcess(url, REGIONS_CONSUMER=f"c{n}", **SMALL))
            for n in (2, 3, 4)
        ]
        names = {f"c{n}".encode() for n in (1, 2, 3, 4)}
        await until(lambda: {c["name"] for c in client.xinfo_consumers(STREAM, GROUP)} == names)
        together = await rate(client, 1200)
        assert together > 1.5 * alone, (alone, together)
        for consumer in others:
            assert consumer.terminate() == 0
        await until(lambda: {c["name"] for c in client.xinfo_consumers(STREAM, GROUP)} == {b"c1"})
        assert client.xinfo_groups(STREAM)[0]["consumers"] == 1, "the names went with them"
        if done(client) + 600 < BACKLOG:
            again = await rate(client, 400)
            assert again < together
        made += publish(client, 20, BACKLOG)
        await until(lambda: settled(client), 120)
        assert first.terminate() == 0
    pipe = client.pipeline(transaction=False)
    for snapshot_id in made:
        pipe.exists(f"intelligence:snapshot-by-id:v1:{snapshot_id}")
    assert all(pipe.execute()), "nothing was lost"
    assert client.zcard("intelligence:snapshot-index:v1:mena") == 0 or client.xlen(DEAD) == 0
    assert client.xinfo_consumers(STREAM, GROUP) == []
