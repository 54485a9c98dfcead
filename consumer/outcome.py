"""What can become of an event, and who decides it. Pure: no clock, no server."""

from enum import StrEnum
from typing import NamedTuple

from consumer.decode import Entry, Origin, RegionEvent, Rejection
from consumer.events import Fault


class Outcome(StrEnum):
    PERSISTED = "persisted"
    """Written, and the newest of its region."""
    SUPERSEDED = "superseded"
    """Written to history; a newer one stands as latest."""
    DUPLICATE = "duplicate"
    """Its dedup bucket is held by another snapshot."""
    REDELIVERED = "redelivered"
    """Written before, or settled by somebody else meanwhile."""
    DEAD_LETTERED = "dead_lettered"
    """It stands in the dead-letter stream with the reason."""
    RETRY = "retry"
    """Still pending; it will be claimed and tried again."""


class Trouble(NamedTuple):
    """What kept the server from doing its part, already translated.

    scope: `server` (the link or the whole server: the same for every event), `event` (this one,
    and it may pass), or `fatal` (this one, and it will not pass).
    """

    scope: str
    code: str
    message: str


class Verdict(StrEnum):
    AGAIN = "again"
    """Now, in this process, with backoff: nothing else could be done meanwhile anyway."""
    LATER = "later"
    """Leave it pending; it comes back after the idle limit and holds up nobody until then."""
    NEVER = "never"
    """Dead letter."""


def decide(trouble: Trouble, deliveries: int, max_deliveries: int) -> Verdict:
    """A fault of the server is no event's fault, however often; an event's own is counted."""
    if trouble.scope == "server":
        return Verdict.AGAIN
    if trouble.scope == "fatal" or deliveries >= max_deliveries:
        return Verdict.NEVER
    return Verdict.LATER


def refused(trouble: Trouble, event: RegionEvent) -> Fault:
    """The server's refusal of one event: for good, or as often as it was allowed to."""
    reason = "rejected_by_server" if trouble.scope == "fatal" else "attempts_exhausted"
    facts = event.facts
    return Fault(
        reason, "persist", trouble.code, trouble.message, (), facts.region, facts.snapshot_id
    )


def too_often(entry: Entry, max_deliveries: int) -> Rejection:
    """Not even decoded again: that may be what ended its consumers."""
    text = (
        f"delivered {entry.deliveries} times, more than {max_deliveries}: each time its consumer "
        "ended or stalled before it was settled"
    )
    return Rejection(entry, Origin(), Fault("delivery_limit", "decode", "delivery_limit", text))


class Settled(NamedTuple):
    """One event's fate, for whoever wants to look: logs, spans, metrics. Nobody acts on it.

    other: the snapshot that holds the bucket or stands as latest; the dead letter's id.
    """

    event: RegionEvent | Rejection
    outcome: Outcome
    other: str = ""
    fault: Fault | None = None
    trouble: Trouble | None = None


class Retried(NamedTuple):
    at_ns: int
    code: str
    message: str
    events: int


class Batch(NamedTuple):
    """A finished batch. Times are nanoseconds since the epoch.

    persist_ns: start and end of the persist pipeline (with its retries), None when there was
    nothing to write; bury_ns: the same for the dead letters.
    """

    settled: list[Settled]
    started_ns: int
    ended_ns: int
    persist_ns: tuple[int, int] | None
    bury_ns: tuple[int, int] | None
    retried: list[Retried]
    claimed: bool
