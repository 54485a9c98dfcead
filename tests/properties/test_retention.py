"""Trimming takes what every group is done with and what is old enough: no more, and no less."""

import asyncio
import time
from dataclasses import dataclass, field

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.servers import Server
from consumer.link import Link
from consumer.store import Store
from tests.faults.test_recovery import add_many
from tests.kit import STREAM, ConsumerProcess, settings_for, settled, until

RETAIN_S = 3600


@dataclass
class Group:
    """How many entries a group has read, and which of those it has not acked."""

    read: int = 0
    unacked: frozenset[int] = field(default_factory=frozenset)


groups = st.lists(
    st.builds(Group, st.integers(0, 30), st.frozensets(st.integers(0, 29), max_size=4)), max_size=4
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(old=st.integers(0, 20), fresh=st.integers(0, 10), groups=groups)
def test_what_a_group_needs_stays(
    server: Server, old: int, fresh: int, groups: list[Group]
) -> None:
    with server.client as client:
        client.flushall()
        now_ms = time.time_ns() // 1_000_000
        ids = [f"{now_ms - 2 * RETAIN_S * 1000 + n}-{n}" for n in range(old)]
        ids += [f"{now_ms - 60_000 + n}-0" for n in range(fresh)]
        for entry_id in ids:
            client.xadd(STREAM, {"n": "1"}, id=entry_id)
        done_with = [_read(client, ids, f"g{n}", group) for n, group in enumerate(groups)]
        trimmed = asyncio.run(_trim(server.url)) if client.exists(STREAM) else 0
        left = [entry_id.decode() for entry_id, _ in client.xrange(STREAM)]
        gone = min([old, *done_with]) if groups else 0
        assert left == ids[gone:]
        assert trimmed == gone


def _read(client: redis.Redis, ids: list[str], name: str, group: Group) -> int:
    """Read and ack as the group did; how many entries, from the first, it is done with."""
    client.xgroup_create(STREAM, name, "0", mkstream=True)
    count = min(group.read, len(ids))
    if count:
        client.xreadgroup(name, "c", {STREAM: ">"}, count=count)
    unacked = sorted(n for n in group.unacked if n < count)
    for n in set(range(count)) - set(unacked):
        client.xack(STREAM, name, ids[n])
    return unacked[0] if unacked else count


async def _trim(url: str) -> int:
    link = Link(url)
    try:
        return await Store(link, settings_for(url, retain_s=RETAIN_S)).trim()
    finally:
        await link.close()


async def test_a_stream_under_steady_load_stays_small(url: str, client: redis.Redis) -> None:
    """Waves of events, two seconds of retention: the consumer itself brings it back to nothing."""
    largest = 0
    with ConsumerProcess(url, REGIONS_RETAIN_S="2"):
        for wave in range(3):
            add_many(client, 1000, start=wave * 1000)
            largest = max(largest, client.memory_usage(STREAM))
            assert largest > 1_000_000
            await until(lambda: settled(client), 20)
            await until(lambda: client.xlen(STREAM) == 0, 20, "trimmed by the consumer")
            assert client.memory_usage(STREAM) < largest / 50
        # Another group has not read the next wave: it stays, however old.
        client.xgroup_create(STREAM, "slow", "$")
        add_many(client, 100, start=9000)
        await until(lambda: settled(client), 20)
        later = time.monotonic() + 4
        await until(lambda: time.monotonic() > later)
        assert client.xlen(STREAM) == 100
        client.xreadgroup("slow", "c", {STREAM: ">"}, count=100, noack=True)
        await until(lambda: client.xlen(STREAM) == 0, 20)
