"""Every bad event ends in the dead letters once, with its reason and its very bytes."""

import json
import time
from typing import Any

import redis

from consumer import keys
from consumer.outcome import Outcome
from producers import samples
from tests.kit import (
    DEAD,
    GROUP,
    STREAM,
    MakeRoad,
    consuming,
    dead_letters,
    settings_for,
    settled,
    until,
)

FIELDS = {
    "reason", "stage", "error_type", "error_message", "error_paths", "failed_at", "first_seen_at",
    "deliveries", "redrives", "consumer", "source_stream", "source_group", "source_id", "region",
    "snapshot_id", "fingerprint", "traceparent", "version",
}  # fmt: skip
SECRET = b"hunter2-never-repeat-me"


def broken_ones() -> list[tuple[dict[bytes, bytes], str, str]]:
    """(fields, reason, stage) of one entry of each kind that must not pass."""
    now = time.time_ns() // 1_000_000

    def document(**changes: Any) -> bytes:
        made = samples.snapshot("mena", now, evidence=3)
        for path, value in changes.items():
            here: Any = made
            *parents, last = path.split("__")
            for part in parents:
                here = here[part]
            if value is KeyError:
                del here[last]
            else:
                here[last] = value
        return samples.to_json(made)

    undecodable = [
        b"", b"\xff\xfe\xfd", b"not json " + SECRET, b'{"cut": "of', b"[1, 2]", b"3", b"null",
        b"[" * 5000, b'{"region_id": "\xff"}',
    ]  # fmt: skip
    invalid = [
        document(region_id="atlantis"),
        document(region_id=SECRET.decode() + ":"),
        document(generated_at=-5),
        document(generated_at=now + 10 * 86_400_000),
        document(generated_at="soon"),
        document(meta=KeyError),
        document(meta__snapshot_id="no spaces"),
        document(meta__trigger_reason="a:b"),
        document(balance__net_balance=7),
        document(evidence=[{"id": SECRET.decode()}]),
        document(narrative__situation={"text": 1, "evidence_ids": []}),
    ]
    return [
        *[({b"snapshot": raw}, "undecodable", "decode") for raw in undecodable],
        *[({b"snapshot": raw}, "invalid", "validate") for raw in invalid],
        ({b"other": b"field", b"\xff\x00": b"\x00\x01"}, "undecodable", "decode"),
        ({b"snapshot": b"x" * 1_048_577}, "undecodable", "decode"),
        ({b"__data__": b"\x89BIN\r\n\x1a\n\x00\x01junk"}, "undecodable", "decode"),
    ]


async def test_each_kind(make_road: MakeRoad, client: redis.Redis) -> None:
    road = await make_road()
    kinds = broken_ones()
    for fields, _, _ in kinds:
        client.xadd(STREAM, fields)
    settled_ones = await road.pipeline.process(road.deliver())
    assert {s.outcome for s in settled_ones} == {Outcome.DEAD_LETTERED}
    letters = dead_letters(client)
    assert len(letters) == len(kinds)
    for (fields, reason, stage), letter in zip(kinds, letters, strict=True):
        assert letter[b"reason"].decode() == reason, letter
        assert letter[b"stage"].decode() == stage
        own = {n.removeprefix(b"event."): v for n, v in letter.items() if n.startswith(b"event.")}
        assert own == fields
        assert {n.decode() for n in letter.keys() - {b"event." + n for n in own}} == FIELDS
        assert SECRET not in b"".join(letter[n.encode()] for n in FIELDS)
        if reason == "invalid":
            assert letter[b"error_paths"]
    assert client.xpending(STREAM, GROUP)["pending"] == 0


async def test_hundreds_of_good_and_bad_at_once(url: str, client: redis.Redis) -> None:
    now = time.time_ns() // 1_000_000
    good, bad = [], []
    kinds = broken_ones()
    pipe = client.pipeline(transaction=False)
    for n in range(600):
        if n % 2:
            document = samples.snapshot("europe", now - n * 1000, seed=n, trigger_reason=f"r_{n}")
            good.append(document["meta"]["snapshot_id"])
            pipe.xadd(STREAM, {"snapshot": samples.to_json(document)})
        else:
            bad.append(kinds[n % len(kinds)])
            pipe.xadd(STREAM, bad[-1][0])
    ids = pipe.execute()
    async with consuming(settings_for(url)):
        await until(lambda: settled(client), 30)
    assert client.exists(*map(keys.by_id, good)) == len(good)
    letters = dead_letters(client)
    assert sorted(letter[b"source_id"] for letter in letters) == sorted(ids[0::2])
    by_id = {letter[b"source_id"]: letter for letter in letters}
    for entry_id, (fields, reason, stage) in zip(ids[0::2], bad, strict=True):
        letter = by_id[entry_id]
        assert (letter[b"reason"], letter[b"stage"]) == (reason.encode(), stage.encode())
        assert {n[6:]: v for n, v in letter.items() if n.startswith(b"event.")} == fields


async def test_whoever_acks_first_settles_it(make_road: MakeRoad, client: redis.Redis) -> None:
    """A consumer that slept while another one settled its entry changes nothing any more."""
    road = await make_road()
    road.add(b"nonsense")
    road.add(samples.snapshot("mena"))
    entries = road.deliver()
    first = await road.pipeline.process(entries[:1])
    client.xack(STREAM, GROUP, entries[1].id)  # settled elsewhere, say dead-lettered
    again = await road.pipeline.process(entries)
    assert first[0].outcome is Outcome.DEAD_LETTERED
    assert [s.outcome for s in again] == [Outcome.REDELIVERED, Outcome.REDELIVERED]
    assert client.xlen(DEAD) == 1
    assert not client.exists(keys.latest("mena"))


async def test_a_dead_letter_that_cannot_be_written_keeps_its_entry(
    make_road: MakeRoad, client: redis.Redis
) -> None:
    road = await make_road()
    client.set(DEAD, "a string in the way")
    road.add(b"nonsense")
    entries = road.deliver()
    assert [s.outcome for s in await road.pipeline.process(entries)] == [Outcome.RETRY]
    assert client.xpending(STREAM, GROUP)["pending"] == 1
    client.delete(DEAD)
    assert [s.outcome for s in await road.pipeline.process(entries)] == [Outcome.DEAD_LETTERED]


async def test_an_entry_of_ten_thousand_fields(make_road: MakeRoad, client: redis.Redis) -> None:
    """More values than a script may pass on: the fields travel as one, and none is lost."""
    road = await make_road()
    client.xadd(STREAM, {f"field-{n}": str(n) for n in range(10_000)})
    assert [s.outcome for s in await road.pipeline.process(road.deliver())] == [
        Outcome.DEAD_LETTERED
    ]
    (letter,) = dead_letters(client)
    assert len(json.loads(letter[b"event_fields_base64"])) == 10_000
