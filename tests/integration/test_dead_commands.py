"""`regions dead …`, with real letters on a real server."""

import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
import redis

from consumer.letters import Letters
from consumer.outcome import Outcome
from consumer.rehearse import Rehearsal
from producers import samples
from tests.kit import DEAD, REGIONS_COMMAND, STREAM, MakeRoad, Road, regions, said, until

AUDIT = f"{DEAD}:audit"


@pytest.fixture
async def road(make_road: MakeRoad) -> Road:
    """Four letters of three kinds."""
    road = await make_road()
    for region in ("mena", "latam"):
        broken = samples.snapshot(region)
        broken["balance"]["net_balance"] = 7
        road.add(broken)
    missing = samples.snapshot("mena")
    del missing["regime"]
    road.add(missing, cycle="morning")
    road.add(b'{"region_id": "europe", "generated')
    await road.run()
    return road


def ids(client: redis.Redis) -> list[str]:
    return [i.decode() for i, _ in client.xrange(DEAD)]


def test_list_and_its_filters(road: Road, client: redis.Redis, url: str) -> None:
    rows = said(regions("dead", "list", "--json", REDIS_URL=url))
    assert [row["id"] for row in rows] == ids(client)
    assert {row["reason"] for row in rows} == {"invalid", "undecodable"}
    assert "event.snapshot" not in rows[0]
    assert rows[0]["bytes"] > 4000

    def count(*filters: str) -> int:
        return len(said(regions("dead", "list", "--json", *filters, REDIS_URL=url)))

    assert count("--region", "mena") == 2
    assert count("--reason", "undecodable") == 1
    assert count("--fingerprint", rows[0]["fingerprint"]) == 2
    assert count("--region", "mena", "--fingerprint", rows[0]["fingerprint"]) == 1
    assert count("--since", "1h") == 4
    assert count("--since", "2099-01-01T00:00Z") == 0
    assert count("--limit", "3") == 3
    groups = said(regions("dead", "list", "--group", "--json", REDIS_URL=url))
    assert [group["count"] for group in groups] == [2, 1, 1]
    assert groups[0]["regions"] == {"mena": 1, "latam": 1}
    for arguments in (["list"], ["list", "--group"]):
        text = regions("dead", *arguments, REDIS_URL=url).stdout.decode()
        assert "balance.net_balance" in text
        assert max(map(len, text.splitlines())) <= 80


async def test_show_points_at_the_field(road: Road, client: redis.Redis, url: str) -> None:
    good = samples.snapshot("mena")
    road.add(good)
    await road.run()
    first, _, missing, cut = ids(client)
    text = regions("dead", "show", first, REDIS_URL=url).stdout.decode()
    assert "> " in text
    (marked,) = [line for line in text.splitlines() if line.startswith("> ")]
    assert '"net_balance": 7' in marked
    assert "the same shape" in text
    assert good["meta"]["snapshot_id"] in text
    text = regions("dead", "show", missing, REDIS_URL=url).stdout.decode()
    assert "- regime (object)" in text
    text = regions("dead", "show", cut, REDIS_URL=url).stdout.decode()
    assert '"generated' in text
    record = said(regions("dead", "show", missing, "--json", REDIS_URL=url))
    assert record["event.cycle"] == "morning"
    assert record["error_paths"] == "regime"
    done = regions("dead", "show", "1-1", REDIS_URL=url)
    assert done.returncode == 1
    assert b"there is no dead letter 1-1" in done.stderr


async def test_replay_by_id_and_by_filter(road: Road, client: redis.Redis, url: str) -> None:
    first = ids(client)[0]
    done = regions("dead", "replay", first, "9-9", "--json", REDIS_URL=url)
    report = said(done)
    assert done.returncode == 1
    assert list(report["replayed"]) == [first]
    assert report["failed"] == {"9-9": "no such dead letter"}
    entry = dict(client.xrange(STREAM, report["replayed"][first])[0][1])
    assert entry[b"redrives"] == b"1"
    assert entry[b"replay_of"] == first.encode()
    assert entry[b"replay_trace"].startswith(b"00-")
    assert first not in ids(client)
    await road.run()
    (again,) = [f for _, f in client.xrange(DEAD) if f[b"redrives"] == b"1"]
    assert again[b"event.replay_of"] == first.encode()
    done = regions("dead", "replay", "--reason", "invalid", "--rate", "100", REDIS_URL=url)
    assert done.returncode == 0, done.stderr
    assert client.xlen(DEAD) == 1
    done = regions("dead", "replay", "--all", REDIS_URL=url)
    assert client.xlen(DEAD) == 0
    notes = [fields for _, fields in client.xrange(AUDIT)]
    assert [note[b"action"] for note in notes] == [b"replay"] * 5
    assert all(b"@" in note[b"by"] and b"entry_id" in note for note in notes)


async def test_a_dry_run_tells_the_truth(road: Road, client: redis.Redis, url: str) -> None:
    """What it says is what then becomes of each: every outcome there is."""
    now = samples.snapshot("global")
    road.add(now)
    await road.run()
    client.delete(DEAD)
    letters = [
        samples.snapshot("mena"),  # persisted
        now,  # redelivered
        samples.snapshot("global", now["generated_at"]),  # duplicate of what is there
        samples.snapshot("global", now["generated_at"] - 7_200_000),  # superseded
        {"no": "snapshot"},  # fails again
    ]
    letters.append(samples.snapshot("mena", letters[0]["generated_at"]))  # of the first letter
    for document in letters:
        client.xadd(DEAD, {"reason": "invalid", "event.snapshot": samples.to_json(document)})
    client.set("intelligence:snapshot-index:v1:latam", "in the way")
    client.xadd(DEAD, {"event.snapshot": samples.to_json(samples.snapshot("latam"))})
    size = client.dbsize()
    done = regions("dead", "replay", "--all", "--dry-run", "--json", REDIS_URL=url)
    report = said(done)
    assert done.returncode == 1, "some fail again"
    forecast = [row["outcome"] for row in report["letters"]]
    assert forecast == ["persisted", "redelivered", "duplicate", "superseded", "fails_again",
                        "duplicate", "fails_again"]  # fmt: skip
    assert report["letters"][-1]["reason"] == "rejected_by_server"
    assert (client.dbsize(), client.xlen(DEAD)) == (size, 7), "nothing was written"
    regions("dead", "replay", "--all", REDIS_URL=url)
    became = [outcome.value for outcome, _ in await road.run()]
    # Dead letters are settled after the others of their batch.
    assert sorted(became) == sorted(o.replace("fails_again", "dead_lettered") for o in forecast)
    text = regions("dead", "replay", "--all", "--dry-run", REDIS_URL=url)
    assert max(map(len, text.stdout.decode().splitlines())) <= 80


async def test_a_letter_of_more_fields_than_a_script_takes(
    client: redis.Redis, make_road: MakeRoad
) -> None:
    road = await make_road()
    client.xadd(STREAM, {f"f{i}": "x" for i in range(3000)})
    await road.run()
    (dead_id,) = ids(client)
    done = regions("dead", "replay", dead_id, "--json", REDIS_URL=road.settings.redis_url)
    assert done.returncode == 1
    assert "more fields" in said(done)["failed"][dead_id]
    assert ids(client) == [dead_id]


@pytest.mark.parametrize("in_the_way", [STREAM, AUDIT])
async def test_a_replay_that_is_refused_changes_nothing(
    in_the_way: str, road: Road, client: redis.Redis, url: str
) -> None:
    before = client.xrange(DEAD)
    client.delete(in_the_way)
    client.set(in_the_way, "in the way")
    done = regions("dead", "replay", "--all", REDIS_URL=url)
    assert done.returncode == 1
    assert b"WRONGTYPE" in done.stderr
    assert client.xrange(DEAD) == before
    assert in_the_way == STREAM or client.xlen(STREAM) == 4


async def test_ten_thousand_and_killed_in_between(client: redis.Redis, make_road: MakeRoad) -> None:
    """Never both, never neither: after a SIGKILL each is a letter or an entry."""
    road = await make_road()
    url = road.settings.redis_url
    pipe = client.pipeline(transaction=False)
    for number in range(10_000):
        pipe.xadd(DEAD, {"reason": "invalid", "region": "mena", "fingerprint": "f", "event.snapshot": b"{}",
                         "event.n": str(number)})  # fmt: skip
    pipe.execute()
    groups = said(regions("dead", "list", "--group", "--json", REDIS_URL=url))
    assert groups[0]["count"] == 10_000
    process = subprocess.Popen(
        [REGIONS_COMMAND, "dead", "replay", "--all", "--rate", "20000"], env={**os.environ, "REDIS_URL": url},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    await until(lambda: client.xlen(STREAM) > 500)
    process.send_signal(signal.SIGKILL)
    process.wait()
    back = {fields[b"n"] for _, fields in client.xrange(STREAM)}
    left = {fields[b"event.n"] for _, fields in client.xrange(DEAD)}
    assert back, "some are back"
    assert left, "and some are not"
    assert not back & left
    assert len(back | left) == 10_000
    done = regions("dead", "discard", "--all", "--yes", REDIS_URL=url)
    assert done.returncode == 0
    assert client.xlen(DEAD) == 0
    assert client.xlen(AUDIT) == 10_000, "a note of each"


def editor(tmp_path: Path, program: str) -> str:
    """An $EDITOR that runs a line of Python over the file."""
    script = tmp_path / "editor"
    script.write_text(
        f"#!/usr/bin/env python3\nimport sys, pathlib\nf = pathlib.Path(sys.argv[1])\n{program}\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


async def test_edit(road: Road, client: redis.Redis, url: str, tmp_path: Path) -> None:
    first = ids(client)[0]
    mend = editor(
        tmp_path,
        "f.write_text(f.read_text().replace('\"net_balance\": 7', '\"net_balance\": 0.5'))",
    )
    for refused, why in (
        ("pass", "nothing was changed"),
        ("sys.exit(3)", "the editor did not end well"),
        ('f.write_text("{}")', "left as it was"),
    ):
        done = regions(
            "dead", "edit", first, REDIS_URL=url, EDITOR=editor(tmp_path, refused), given=b"n\n"
        )
        assert done.returncode == 1, refused
        assert why in done.stderr.decode()
        assert ids(client)[0] == first
    mend = editor(
        tmp_path,
        "f.write_text(f.read_text().replace('\"net_balance\": 7', '\"net_balance\": 0.5'))",
    )
    done = regions("dead", "edit", first, REDIS_URL=url, EDITOR=mend)
    assert done.returncode == 0, done.stderr
    assert first not in ids(client)
    assert await road.run() != []
    assert client.exists("intelligence:snapshot:v1:mena:latest")
    assert client.xrange(AUDIT)[-1][1][b"action"] == b"edit"
    done = regions("dead", "edit", "1-1", REDIS_URL=url, EDITOR=mend)
    assert b"there is no dead letter" in done.stderr


def test_discard_asks_and_is_noted(road: Road, client: redis.Redis, url: str) -> None:
    first = ids(client)[0]
    done = regions("dead", "discard", first, given=b"n\n", REDIS_URL=url)
    assert done.returncode == 1
    assert first in ids(client)
    done = regions("dead", "discard", first, given=b"y\n", REDIS_URL=url)
    assert done.returncode == 0
    assert first not in ids(client)
    ((_, note),) = client.xrange(AUDIT)
    assert note[b"action"] == b"discard"
    assert note[b"dead_id"] == first.encode()
    assert note[b"region"] == b"mena"
    assert not any(name.startswith(b"event.") for name in note)
    done = regions("dead", "discard", first, "--yes", REDIS_URL=url)
    assert done.returncode == 1, "it is gone already"


def test_export_and_import(road: Road, client: redis.Redis, url: str, tmp_path: Path) -> None:
    client.xadd(
        DEAD, {"reason": "undecodable", "event.snapshot": b"\xff\x00", b"event.\xfe": b"odd name"}
    )
    before = client.xrange(DEAD)
    file = tmp_path / "letters.ndjson"
    assert regions("dead", "export", str(file), REDIS_URL=url).returncode == 0
    assert client.xrange(DEAD) == before, "an export takes nothing away"
    assert b"0 imported, 5 were there" in regions("dead", "import", str(file), REDIS_URL=url).stderr
    client.delete(DEAD)
    assert b"5 imported" in regions("dead", "import", str(file), REDIS_URL=url).stderr
    assert client.xrange(DEAD) == before
    regions("dead", "discard", "--all", "--yes", REDIS_URL=url)
    piped = regions("dead", "import", "-", given=file.read_bytes(), REDIS_URL=url)
    assert piped.returncode == 0
    assert [fields for _, fields in client.xrange(DEAD)] == [fields for _, fields in before]
    (mena,) = {json.loads(line)["fields"]["region"] for line in
               regions("dead", "export", "--region", "mena", REDIS_URL=url).stdout.splitlines()}  # fmt: skip
    assert mena == "mena"
    bad = regions(
        "dead",
        "import",
        "-",
        given=b'{"id": "1-1", "fields": {"a": "b"}}\nnonsense\n',
        REDIS_URL=url,
    )
    assert bad.returncode == 1
    assert b":2 is no exported dead letter" in bad.stderr
    assert client.xlen(DEAD) == 5


async def test_letters_are_safe_against_each_other(road: Road, client: redis.Redis) -> None:
    """Two people replay and discard the same letters at once: each letter goes one way."""
    import asyncio

    letters, chosen = Letters(road.link, road.settings), ids(client)
    await asyncio.gather(
        letters.replay(chosen),
        letters.discard(chosen),
        letters.replay(chosen),
        letters.discard(chosen),
    )
    assert client.xlen(DEAD) == 0
    assert client.xlen(AUDIT) == len(chosen)


async def test_rehearsing_asks_the_server_once_a_batch(road: Road, client: redis.Redis) -> None:
    from consumer.decode import Entry

    entries = [Entry("1-1", {b"snapshot": samples.to_json(samples.snapshot("mena"))})] * 3
    now_ms = time.time_ns() // 1_000_000
    forecasts = await Rehearsal(road.link, road.settings, now_ms).of(entries)
    assert [f.outcome for f in forecasts] == [
        Outcome.PERSISTED,
        Outcome.REDELIVERED,
        Outcome.REDELIVERED,
    ]
