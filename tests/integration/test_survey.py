"""How the group stands: right also where Redis' own `lag` is null or wrong."""

import asyncio
import time

import redis

from consumer.events import REGIONS
from consumer.link import Link
from consumer.store import Store
from producers import samples
from tests.kit import GROUP, STREAM, MakeRoad, Road, command_calls, settings_for

RAW = samples.to_json(samples.snapshot("mena"))


def fill(client: redis.Redis, count: int) -> list[bytes]:
    pipe = client.pipeline(transaction=False)
    for _ in range(count):
        pipe.xadd(STREAM, {"snapshot": b"{}"})
    return list(pipe.execute())


def lag_of(client: redis.Redis) -> int | None:
    return next(g for g in client.xinfo_groups(STREAM) if g["name"] == GROUP.encode())["lag"]


async def backlog(road: Road) -> tuple[int, bool]:
    survey, _ = await road.store.survey()
    return survey.backlog, survey.backlog_exact


async def test_nothing_there_yet(url: str, link: Link) -> None:
    store = Store(link, settings_for(url))
    survey, now_ms = await store.survey()
    assert not survey.stream
    assert not survey.group
    assert (survey.backlog, survey.pending, survey.dead, survey.live) == (0, 0, 0, 0)
    assert survey.newest == dict.fromkeys(REGIONS)
    assert survey.oldest_age_s(now_ms) == 0
    assert abs(now_ms / 1000 - time.time()) < 5


async def test_a_stream_without_the_group_is_all_backlog(
    url: str, client: redis.Redis, link: Link
) -> None:
    fill(client, 7)
    survey, now_ms = await Store(link, settings_for(url)).survey()
    assert survey.stream
    assert not survey.group
    assert survey.backlog == 7
    assert survey.oldest_id == survey.first_id
    assert 0 <= survey.oldest_age_s(now_ms) < 60


async def test_backlog_and_pending(client: redis.Redis, make_road: MakeRoad) -> None:
    road = await make_road()
    ids = fill(client, 10)
    assert await backlog(road) == (10, True)
    road.deliver(4)
    survey, _ = await road.store.survey()
    assert (survey.backlog, survey.backlog_exact, survey.pending) == (6, True, 4)
    assert survey.oldest_id == ids[0].decode()
    assert survey.highest_deliveries == 1
    (member,) = survey.members
    assert (member.name, member.pending) == (road.settings.consumer, 4)
    assert survey.live == 1
    road.deliver(100)
    client.xack(STREAM, GROUP, *ids)
    survey, _ = await road.store.survey()
    assert (survey.backlog, survey.backlog_exact, survey.oldest_id) == (0, True, "")


async def test_lag_is_null_after_an_unread_entry_was_deleted(
    client: redis.Redis, make_road: MakeRoad
) -> None:
    road = await make_road()
    ids = fill(client, 5000)
    road.deliver(10)
    client.xdel(STREAM, ids[3000], ids[4000])
    assert lag_of(client) is None
    survey, _ = await road.store.survey()
    assert (survey.backlog, survey.backlog_exact) == (4988, True)
    assert survey.lost >= 1, "nobody will ever read them"


async def test_lag_is_too_high_for_ever_after_unread_entries_were_trimmed(
    client: redis.Redis, make_road: MakeRoad
) -> None:
    road = await make_road()
    fill(client, 100)
    road.deliver(10)
    client.xtrim(STREAM, maxlen=50, approximate=False)
    survey, _ = await road.store.survey()
    assert (survey.backlog, survey.backlog_exact) == (50, True)
    assert survey.lost == 40
    road.deliver(20)  # the bound is behind us now; the counter stays wrong where it was wrong
    survey, _ = await road.store.survey()
    assert (survey.backlog, survey.backlog_exact) == (30, True)
    assert survey.lost == max((lag_of(client) or 0) - 30, 0)
    road.deliver(100)
    assert await backlog(road) == (0, True)
    # What docs/alerts/TrimLoss.md says sets the server's counters right.
    info = client.xinfo_stream(STREAM)
    client.xgroup_setid(
        STREAM, GROUP, info["last-generated-id"], entries_read=info["entries-added"]
    )
    survey, _ = await road.store.survey()
    assert survey.lost == 0
    assert lag_of(client) == 0


async def test_what_is_too_much_to_count_is_a_lower_bound(
    client: redis.Redis, make_road: MakeRoad
) -> None:
    road = await make_road()
    ids = fill(client, 9000)
    road.deliver(10)
    assert await backlog(road) == (8990, False), "Redis' own word, which may be true"
    client.xdel(STREAM, ids[5000])
    survey, _ = await road.store.survey(count_limit=4000)
    assert not survey.backlog_exact
    assert 4000 <= survey.backlog < 8989
    assert await backlog(road) == (8989, True), "up to ten thousand are counted"


async def test_newest_of_each_region_and_the_dead(make_road: MakeRoad) -> None:
    road = await make_road()
    document = samples.snapshot("mena")
    road.add(document)
    road.add(b"broken")
    await road.run()
    survey, now_ms = await road.store.survey()
    assert survey.newest["mena"] == (
        document["meta"]["snapshot_id"], document["generated_at"],
    )  # fmt: skip
    assert survey.newest["latam"] is None
    assert survey.dead == 1
    assert abs(now_ms - int(survey.oldest_dead_id.split("-")[0])) < 60_000


async def test_keys_of_another_type_do_not_hide_the_rest(
    url: str, client: redis.Redis, link: Link
) -> None:
    client.set("intelligence:snapshot-index:v1:mena", "in the way")
    client.set("region-events:dead", "in the way")
    client.set(STREAM, "in the way")
    survey, _ = await Store(link, settings_for(url)).survey()
    assert not survey.stream
    assert survey.newest["mena"] is None


async def test_of_many_consumers_one_looks(
    url: str, client: redis.Redis, make_road: MakeRoad
) -> None:
    await make_road()
    fill(client, 3)
    client.config_resetstat()
    links = [Link(url) for _ in range(20)]
    stores = [Store(link, settings_for(url)) for link in links]
    told = await asyncio.gather(*(store.survey(ttl_ms=60_000) for store in stores))
    assert {survey.backlog for survey, _ in told} == {3}
    calls = command_calls(client)
    assert calls["xinfo|groups"] == 1
    assert calls["evalsha"] >= 20
    for link in links:
        await link.close()
