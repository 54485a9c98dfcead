"""Reading the newest of all regions in two round trips, and saying what is not there."""

import redis

from consumer import keys
from consumer.events import REGIONS
from consumer.latest import newest
from consumer.link import Link
from producers import samples
from tests.kit import MakeRoad, command_calls


async def test_all_regions_in_two_round_trips(
    make_road: MakeRoad, client: redis.Redis, link: Link
) -> None:
    road = await make_road()
    cycle = samples.cycle()
    for document in cycle:
        road.add(document)
    await road.run()
    client.config_resetstat()
    found = await newest(link, REGIONS)
    calls = command_calls(client)
    assert {name: n for name, n in calls.items() if name not in {"config|resetstat", "info"}} == {
        "mget": 2
    }
    assert [one.raw for one in found] == [samples.to_json(document) for document in cycle]
    assert [one.generated_at for one in found] == [d["generated_at"] for d in cycle]


async def test_missing_and_expired_are_said(
    make_road: MakeRoad, client: redis.Redis, link: Link
) -> None:
    road = await make_road()
    document = samples.snapshot("europe")
    road.add(document)
    await road.run()
    client.delete(keys.by_id(document["meta"]["snapshot_id"]))
    none, gone = await newest(link, ["mena", "europe"])
    assert (none.state, none.raw) == ("none", b"")
    assert (gone.state, gone.snapshot_id) == ("missing", document["meta"]["snapshot_id"])
    assert await newest(link, []) == []
