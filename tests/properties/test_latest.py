"""`latest` is the newest persisted: in any order of arrival, with any number of consumers."""

import asyncio
import time

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.servers import Server
from consumer import keys
from consumer.decode import Entry
from consumer.link import Link
from consumer.outcome import Outcome
from consumer.pipeline import Pipeline
from consumer.store import Store
from producers import samples
from tests.kit import GROUP, STREAM, settings_for

NOW = time.time_ns() // 1_000_000
ages = st.integers(min_value=0, max_value=80 * 96)
arrivals = st.lists(st.tuples(st.sampled_from(["mena", "europe"]), ages), min_size=1, max_size=12)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arrivals=arrivals, consumers=st.integers(1, 4), sizes=st.integers(1, 5))
def test_latest_is_the_newest_persisted(
    server: Server, arrivals: list[tuple[str, int]], consumers: int, sizes: int
) -> None:
    with server.client as client:
        client.flushall()
        asyncio.run(_run(server.url, client, arrivals, consumers, sizes))
        for region in {region for region, _ in arrivals}:
            ids = client.zrange(keys.index(region), 0, -1, withscores=True)
            newest = max((score, identifier) for identifier, score in ids)[1]
            assert client.get(keys.latest(region)) == newest
            # The newest of the first ones of each bucket, and nothing else, was persisted.
            published = {age * 900_000 for r, age in arrivals if r == region}
            assert len(ids) == len(published)
            assert {NOW - score for _, score in ids} == published


async def _run(
    url: str, client: redis.Redis, arrivals: list[tuple[str, int]], consumers: int, sizes: int
) -> None:
    link = Link(url)
    roads = []
    for n in range(consumers):
        chosen = settings_for(url, consumer=f"c{n}")
        store = Store(link, chosen)
        await store.load()
        await store.ensure_group()
        roads.append((f"c{n}", Pipeline(store, chosen, lambda _: None)))
    for n, (region, age) in enumerate(arrivals):
        document = samples.snapshot(region, NOW - age * 900_000, seed=n, evidence=1)
        client.xadd(STREAM, {"snapshot": samples.to_json(document)})
    work = []
    while True:
        for name, pipeline in roads:
            found = client.xreadgroup(GROUP, name, {STREAM: ">"}, sizes)
            if not found:
                settled = [s for batch in await asyncio.gather(*work) for s in batch]
                await link.close()
                assert all(
                    s.outcome in {Outcome.PERSISTED, Outcome.SUPERSEDED, Outcome.DUPLICATE}
                    for s in settled
                )
                assert len(settled) == len(arrivals)
                return
            entries = [Entry(i.decode(), fields) for i, fields in found[0][1]]
            work.append(pipeline.process(entries))
