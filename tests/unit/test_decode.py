"""Bytes of a stream entry → event or rejection, whoever wrote them."""

import json
import time

from faststream.redis.parser import BinaryMessageFormatV1
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode import Entry, Origin, RegionEvent, Rejection, decode
from consumer.events import Rules
from producers import samples

NOW_MS = time.time_ns() // 1_000_000
RAW = samples.to_json(samples.snapshot("mena", NOW_MS, seed=1))
PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def read(fields: dict[bytes, bytes]) -> RegionEvent | Rejection:
    return decode(Entry("1-0", fields), Rules(), NOW_MS)


def test_a_plain_entry_keeps_its_bytes() -> None:
    event = read({b"snapshot": RAW})
    assert isinstance(event, RegionEvent)
    assert event.raw is RAW
    assert event.origin == Origin()


def test_trace_context_and_cycle() -> None:
    event = read({b"snapshot": RAW, b"traceparent": PARENT.encode(), b"cycle": b"06:00"})
    assert event.origin == Origin(PARENT, "", "06:00")


def test_nonsense_in_optional_fields_is_left_out() -> None:
    event = read({b"snapshot": RAW, b"cycle": b"\x00\x01", b"traceparent": b"x" * 5000})
    assert isinstance(event, RegionEvent)
    assert event.origin == Origin()


async def test_a_faststream_envelope() -> None:
    data = await BinaryMessageFormatV1.encode(
        message=json.loads(RAW),
        reply_to=None,
        headers={"traceparent": PARENT},
        correlation_id="1",
    )
    event = read({b"__data__": data})
    assert isinstance(event, RegionEvent)
    assert event.origin.traceparent == PARENT
    assert json.loads(event.raw) == json.loads(RAW)


def test_no_snapshot_field() -> None:
    event = read({b"payload": RAW})
    assert isinstance(event, Rejection)
    assert event.fault.error_type == "no_snapshot"


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=200), max_size=5))
def test_any_fields_at_all_are_rejected_not_raised(fields: dict[bytes, bytes]) -> None:
    assert isinstance(read(fields), Rejection)


@given(st.binary(max_size=300))
def test_any_envelope_at_all_is_rejected_not_raised(data: bytes) -> None:
    assert isinstance(read({b"__data__": data}), Rejection)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_any_json_at_all_is_rejected_not_raised(document: object) -> None:
    assert isinstance(
        read({b"snapshot": json.dumps(document).encode("utf-8", "replace")}), Rejection
    )
