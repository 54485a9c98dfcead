"""`regions status`, `tail` and `cycle`, as an operator runs them."""

import asyncio
import json
import subprocess

import pytest
import redis

from bench.servers import free_port
from producers import samples
from producers.publisher import RegionPublisher
from tests.kit import (
    DEAD,
    GROUP,
    REGIONS_COMMAND,
    STREAM,
    ConsumerProcess,
    MakeRoad,
    regions,
    said,
    settled,
    until,
)

HOUR_MS = 3_600_000


async def test_a_healthy_group(url: str, client: redis.Redis) -> None:
    with ConsumerProcess(url, REGIONS_CONSUMER="consumer-1"):
        for document in samples.cycle():
            client.xadd(STREAM, {"snapshot": samples.to_json(document)})
        await until(lambda: client.exists(STREAM) and settled(client))
        done = regions("status", "--json", REDIS_URL=url)
        report = said(done)
        assert done.returncode == 0, report
        assert report["problems"] == []
        assert (report["length"], report["backlog"], report["pending"]) == (8, 0, 0)
        (consumer,) = report["consumers"]
        assert consumer["name"] == "consumer-1"
        assert consumer["reading"]
        assert all(row["age_s"] is not None for row in report["regions"])
        done = regions("status", REDIS_URL=url)
        assert done.returncode == 0
        assert b"all is well" in done.stdout
        assert max(map(len, done.stdout.decode().splitlines())) <= 80


async def test_what_needs_a_person(client: redis.Redis, make_road: MakeRoad) -> None:
    road = await make_road(consumer="stalled")
    old = samples.snapshot("mena")
    old["generated_at"] -= 9 * HOUR_MS
    road.add(old)
    road.add(b"broken")
    road.add(b"{}")
    await road.run()
    late = road.add(samples.snapshot("latam"))
    road.deliver()
    client.xclaim(STREAM, GROUP, "stalled", 0, [late], retrycount=4)
    road.add(samples.snapshot("europe"))
    done = regions(
        "status",
        "--json",
        "--max-backlog",
        "0",
        "--max-oldest",
        "0s",
        REDIS_URL=road.settings.redis_url,
    )
    report = said(done)
    assert done.returncode == 1
    problems = "\n".join(report["problems"])
    for part in ("1 entries nobody has read", "has waited", "delivered 4 times", "2 dead letters",
                 "mena's newest snapshot is 9.0 h old", "global has no snapshot"):  # fmt: skip
        assert part in problems, part
    assert report["dead"]["reasons"] == {"undecodable": 1, "invalid": 1}
    assert report["oldest_id"] == late
    lenient = ["--max-dead", "2", "--max-deliveries", "9", "--max-age", "10h"]
    done = regions("status", "--json", *lenient, REDIS_URL=road.settings.redis_url)
    left = said(done)["problems"]
    assert all("has no snapshot" in problem for problem in left)
    done = regions("status", REDIS_URL=road.settings.redis_url)
    assert done.returncode == 1
    assert max(map(len, done.stdout.decode().splitlines())) <= 80


def test_nothing_has_ever_run(url: str) -> None:
    done = regions("status", REDIS_URL=url)
    assert done.returncode == 1
    assert b"there is no stream region-events" in done.stdout


async def test_watching(url: str, client: redis.Redis) -> None:
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    process = subprocess.Popen(
        [REGIONS_COMMAND, "status", "--watch", "0.2", "--redis-url", url], stdout=subprocess.PIPE,
        env={"TERM": "xterm", "COLUMNS": "80", "PATH": "/usr/bin:/bin", "FORCE_COLOR": "1"},
    )  # fmt: skip
    assert process.stdout
    try:
        seen = b""
        while seen.count(b"stream") < 3:  # it refreshes
            seen += await asyncio.to_thread(process.stdout.read1)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["status", "--max-age", "soon"], "is no length of time"),
        (["dead", "list", "--since", "yesterday"], "is no time"),
        (["dead", "replay"], "which ones?"),
        (["dead", "discard", "--yes"], "which ones?"),
        (["doctor", "--role", "cook"], "Invalid value"),
        (["docs", "poem"], "Invalid value"),
    ],
)
def test_mistakes(url: str, arguments: list[str], part: str) -> None:
    done = regions(*arguments, REDIS_URL=url)
    assert done.returncode == 2
    assert part in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"], ["explain", "mena"], ["tail", "--for", "1"], ["cycle", "x"], ["dead", "list"],
        ["dead", "show", "1-1"], ["dead", "replay", "1-1"], ["dead", "discard", "1-1", "--yes"],
        ["dead", "export"], ["dead", "edit", "1-1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_server(arguments: list[str]) -> None:
    done = regions(*arguments, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert done.returncode == 1
    assert "Is the server running?" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


async def test_tail_shows_events_as_they_are_settled(url: str, client: redis.Redis) -> None:
    before = None
    with ConsumerProcess(url):
        await until(lambda: client.exists(STREAM))
        client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("latam"))})
        await until(lambda: client.exists(f"{STREAM}:settled"))
        before = client.xinfo_groups(STREAM)
        tail = subprocess.Popen(
            [
                REGIONS_COMMAND,
                "tail",
                "--json",
                "--count",
                "2",
                "--region",
                "mena",
                "--redis-url",
                url,
            ],
            stdout=subprocess.PIPE,
        )
        await until(lambda: any(c["cmd"] == "xread" for c in client.client_list()))
        raw = samples.to_json(samples.snapshot("mena"))
        trace_id = "0af7651916cd43dd8448eb211c80319c"
        client.xadd(STREAM, {"snapshot": raw, "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
        client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("europe"))})
        client.xadd(STREAM, {"snapshot": raw})
        text, _ = await asyncio.to_thread(tail.communicate, timeout=20)
    # Two reads may settle at once: the journal has them in any order.
    first, second = sorted(map(json.loads, text.splitlines()), key=lambda row: row["entry_id"])
    assert (first["region"], first["outcome"], first["trace_id"]) == ("mena", "persisted", trace_id)
    assert second["outcome"] == "redelivered"
    assert first["ms"] >= 0
    after = client.xinfo_groups(STREAM)
    assert [g["name"] for g in after] == [g["name"] for g in before], "the group did not notice"
    done = regions("tail", "--for", "0.1", REDIS_URL=url)
    assert (done.returncode, done.stdout) == (0, b""), "what was before is not told"


async def test_a_cycle(url: str, client: redis.Redis) -> None:
    documents = samples.cycle()
    async with RegionPublisher(url) as publisher:
        await publisher.publish(documents[:6], cycle="morning")
        client.xadd(
            STREAM,
            {"snapshot": samples.to_json(documents[6] | {"evidence": 1}), "cycle": "morning"},
        )
        done = regions("cycle", "morning", "--json", REDIS_URL=url)
        states = {row["region"]: row["state"] for row in said(done)["regions"]}
        assert done.returncode == 1
        assert sorted(states.values()) == ["missing"] + ["pending"] * 7
        with ConsumerProcess(url):
            await until(lambda: settled(client))
            await until(lambda: client.exists(f"{STREAM}:settled"))
            done = regions("cycle", "morning", "--json", REDIS_URL=url)
            states = {row["region"]: row["state"] for row in said(done)["regions"]}
            assert sorted(states.values()) == ["dead", "missing"] + ["ok"] * 6
            assert states[documents[6]["region_id"]] == "dead"
            assert states[documents[7]["region_id"]] == "missing"
            assert client.xlen(DEAD) == 1
            await publisher.publish(documents[6:], cycle="morning")
            await until(lambda: settled(client))
            await until(lambda: regions("cycle", "morning", REDIS_URL=url).returncode == 0)
            # What only the streams tell, when the journal has a gap: a duplicate, and a dead one.
            rival = samples.snapshot("mena", documents[0]["generated_at"])
            await publisher.publish([rival], cycle="noon")
            broken = documents[1] | {"evidence": 1}
            client.xadd(STREAM, {"snapshot": samples.to_json(broken), "cycle": "noon"})
            await until(lambda: settled(client) and client.xlen(DEAD) == 2)
    client.delete(f"{STREAM}:settled")
    done = regions("cycle", "morning", "--json", REDIS_URL=url)
    assert said(done)["complete"], "without a journal the keys tell"
    rows = {
        r["region"]: r for r in said(regions("cycle", "noon", "--json", REDIS_URL=url))["regions"]
    }
    assert (rows["mena"]["state"], rows["mena"]["outcome"]) == ("ok", "duplicate")
    assert rows[documents[1]["region_id"]]["state"] == "dead"
    done = regions("cycle", "evening", "--json", REDIS_URL=url)
    assert {row["state"] for row in said(done)["regions"]} == {"missing"}
