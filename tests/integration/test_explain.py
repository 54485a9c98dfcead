"""`regions explain`: the story of one event, whatever it is asked by."""

import redis

from consumer.letters import Letters
from consumer.link import Link
from consumer.scribe import Scribe
from consumer.story import Story, explain
from producers import samples
from tests.kit import (
    DEAD,
    GROUP,
    STREAM,
    ConsumerProcess,
    MakeRoad,
    Road,
    regions,
    said,
    settled,
    until,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def journalled(road: Road) -> None:
    """What the app does after each batch."""
    scribe = Scribe(road.link, road.settings)
    for batch in road.batches:
        scribe(batch)
    await scribe.finish(10)
    road.batches.clear()


async def run(road: Road) -> None:
    await road.run()
    await journalled(road)


def whats(story: Story | None) -> list[str]:
    assert story is not None
    return [step.what for step in story.steps]


async def test_persisted_by_every_id(make_road: MakeRoad) -> None:
    road = await make_road(consumer="c1")
    document = samples.snapshot("mena")
    snapshot_id = document["meta"]["snapshot_id"]
    entry_id = road.add(document, cycle="morning", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    await run(road)
    stories = [
        await explain(road.link, road.settings, what) for what in (snapshot_id, entry_id, "mena")
    ]
    assert stories[0] == stories[1] == stories[2]
    story = stories[0]
    assert story
    assert whats(story) == ["published", "persisted", "state"]
    assert story.trace_ids == [TRACE]
    assert story.region == "mena"
    assert "cycle morning" in story.steps[0].said
    assert "delivery 1 to c1" in story.steps[1].said
    assert "newest of mena" in story.steps[2].said
    names = dict(story.keys)
    assert len(names) == 5
    assert names[f"intelligence:snapshot-by-id:v1:{snapshot_id}"] > 7_000_000
    assert names["intelligence:snapshot-index:v1:mena"] == -1


async def test_superseded_and_duplicate_by_what(client: redis.Redis, make_road: MakeRoad) -> None:
    road = await make_road()
    newer = samples.snapshot("mena")
    older = samples.snapshot("mena", newer["generated_at"] - 3_600_000)
    rival = samples.snapshot("mena", newer["generated_at"])
    ids = [road.add(document) for document in (newer, older, rival)]
    await run(road)
    newest_id = newer["meta"]["snapshot_id"]
    story = await explain(road.link, road.settings, ids[1])
    assert story
    assert f"{newest_id} is newer" in story.steps[1].said
    assert f"the newest of mena is {newest_id}" in story.steps[-1].said
    story = await explain(road.link, road.settings, ids[2])
    assert story
    assert f"held by {newest_id}" in story.steps[1].said
    assert "not persisted" in story.steps[-1].said
    # Long after: the bucket's key has expired, and the journal has a gap.
    client.delete(*client.keys("dedup:*"), f"{STREAM}:settled")
    story = await explain(road.link, road.settings, rival["meta"]["snapshot_id"])
    assert story
    assert f"{newest_id} has its bucket" in story.steps[-1].said


async def test_waiting_and_pending(make_road: MakeRoad) -> None:
    road = await make_road(consumer="c1")
    entry_id = road.add(samples.snapshot("mena"))
    story = await explain(road.link, road.settings, entry_id)
    assert whats(story) == ["published", "waiting", "state"]
    road.deliver()
    story = await explain(road.link, road.settings, entry_id)
    assert story
    assert whats(story)[1] == "pending"
    assert "delivery 1, held by c1" in story.steps[1].said


async def test_dead_mended_replayed_dead_again_discarded(
    client: redis.Redis, make_road: MakeRoad
) -> None:
    road = await make_road()
    broken = samples.snapshot("mena")
    broken["balance"]["net_balance"] = 7
    entry_id = road.add(broken)
    await run(road)
    letters = Letters(road.link, road.settings)
    dead_id = client.xrange(DEAD)[0][0].decode()
    for what in (dead_id, entry_id, "mena"):
        story = await explain(road.link, road.settings, what)
        assert story
        assert whats(story)[:1] == ["published"]
        assert sorted(whats(story)) == ["dead_lettered", "published", "state"]
    (second_id,) = await letters.replay([dead_id])
    await run(road)
    story = await explain(road.link, road.settings, entry_id)
    assert story
    assert whats(story).count("published") == 2
    assert whats(story).count("dead_lettered") == 2
    assert whats(story).count("replayed") == 1
    assert any(f"a replay of dead letter {dead_id}" in step.said for step in story.steps)
    assert story.entry_ids == [entry_id, second_id]
    assert len(story.trace_ids) == 2, "a replay is a trace of its own"
    (again_id,) = [i.decode() for i, _ in client.xrange(DEAD)]
    good = samples.snapshot("mena", broken["generated_at"])
    good["meta"]["snapshot_id"] = broken["meta"]["snapshot_id"]
    assert all(await letters.replay([again_id], samples.to_json(good)))
    await run(road)
    story = await explain(road.link, road.settings, again_id)
    assert "mended and replayed" in whats(story)
    assert "persisted" in whats(story)
    road.add(b"rubbish")
    await run(road)
    (gone,) = [i.decode() for i, _ in client.xrange(DEAD)]
    assert await letters.discard([gone]) == 1
    assert "discarded" in whats(await explain(road.link, road.settings, gone))


async def test_nobody_knows_it(url: str, link: Link, make_road: MakeRoad) -> None:
    road = await make_road()
    for what in ("mena", "1-1", "01a203d0051a-6ccc4e0f43cd", "nonsense"):
        assert await explain(road.link, road.settings, what) is None, what
    done = regions("explain", "mena", REDIS_URL=url)
    assert done.returncode == 1
    assert b"nothing is known of mena" in done.stderr


async def test_the_command(url: str, client: redis.Redis) -> None:
    with ConsumerProcess(url, REGIONS_CONSUMER="c1"):
        await until(lambda: client.exists(STREAM))
        entry_id = client.xadd(
            STREAM, {"snapshot": samples.to_json(samples.snapshot("mena"))}
        ).decode()
        await until(lambda: settled(client))
        await until(lambda: client.exists(f"{STREAM}:settled"))
        done = regions(
            "explain", entry_id, "--json", REDIS_URL=url, REGIONS_JAEGER_URL="http://jaeger:16686/"
        )
        story = said(done)
        assert done.returncode == 0
        assert [step["what"] for step in story["steps"]] == ["published", "persisted", "state"]
        assert story["jaeger"] == [f"http://jaeger:16686/trace/{story['trace_ids'][0]}"]
        done = regions("explain", "mena", REDIS_URL=url)
        text = done.stdout.decode()
        assert "persisted" in text
        assert story["trace_ids"][0] in text
        client.xgroup_destroy(STREAM, GROUP)
        assert regions("explain", "mena", REDIS_URL=url).returncode == 0
