"""Who may try again, and when it is enough."""

import pytest
from redis.exceptions import ConnectionError as LinkError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError, TimeoutError

from consumer.attempt import attempt, parse
from consumer.dead import fingerprint
from consumer.decode import Entry, Origin
from consumer.events import Fault
from consumer.outcome import Trouble, Verdict, decide
from consumer.store import translate

PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"


@pytest.mark.parametrize(
    ("error", "scope", "code"),
    [
        (LinkError("gone"), "server", "ConnectionError"),
        (TimeoutError("slow"), "server", "TimeoutError"),
        (ReadOnlyError("no", status_code="READONLY"), "server", "READONLY"),
        (OutOfMemoryError("no", status_code="OOM"), "server", "OOM"),
        (ResponseError("BUSY a script"), "server", "BUSY"),
        (ResponseError("MISCONF disk"), "server", "MISCONF"),
        (ResponseError("NOGROUP none"), "server", "NOGROUP"),
        (ResponseError("WRONGTYPE Operation against"), "fatal", "WRONGTYPE"),
        (ResponseError("NOPERM this user"), "event", "NOPERM"),
        (ResponseError("something nobody knows"), "event", "ERR"),
    ],
)
def test_translation(error: ResponseError, scope: str, code: str) -> None:
    assert translate(error)[:2] == (scope, code)


@pytest.mark.parametrize("deliveries", [1, 5, 500])
def test_a_fault_of_the_server_is_never_the_event_s(deliveries: int) -> None:
    assert decide(Trouble("server", "OOM", ""), deliveries, 5) is Verdict.AGAIN


def test_an_event_s_own_fault_is_tried_until_the_limit() -> None:
    trouble = Trouble("event", "NOPERM", "")
    assert [decide(trouble, n, 3) for n in (1, 2, 3)] == [
        Verdict.LATER,
        Verdict.LATER,
        Verdict.NEVER,
    ]


def test_what_cannot_pass_is_not_tried() -> None:
    assert decide(Trouble("fatal", "WRONGTYPE", ""), 1, 5) is Verdict.NEVER


def test_a_redelivery_knows_the_delivery_before_it() -> None:
    first = attempt("s", "g", Entry("1-0", {}, 1), Origin(PARENT))
    second = attempt("s", "g", Entry("1-0", {}, 2), Origin(PARENT))
    assert first.previous_id == 0
    assert second.previous_id == first.span_id != second.span_id
    assert first.trace_id == second.trace_id == int("a" * 32, 16)
    assert (first.parent_id, first.sampled) == (int("b" * 16, 16), False)


def test_without_context_a_trace_of_its_own_that_stays() -> None:
    first = attempt("s", "g", Entry("1-0", {}, 1), Origin())
    assert first.trace_id == attempt("s", "g", Entry("1-0", {}, 2), Origin()).trace_id
    assert first.trace_id != attempt("s", "g", Entry("1-1", {}, 1), Origin()).trace_id
    assert first.parent_id == 0


@pytest.mark.parametrize(
    "nonsense",
    ["", "00", PARENT[:-1], "ff" + PARENT[2:], "00-" + "0" * 32 + PARENT[35:], PARENT.upper()],
)
def test_no_traceparent(nonsense: str) -> None:
    assert parse(nonsense) is None


def test_fingerprints_group_by_kind_not_by_position() -> None:
    def of(*paths: str) -> str:
        return fingerprint(Fault("invalid", "validate", "missing", "text", paths))

    assert of("evidence.3.id") == of("evidence.17.id") != of("actors.3.name")
