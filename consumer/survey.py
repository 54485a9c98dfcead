"""How a group stands, as survey.lua found it, and what follows from that. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

# A live consumer reads every half second, whatever there is to read.
LIVE_MS = 15_000


class Member(NamedTuple):
    """A name in the group: entries it holds, ms since it last asked for more."""

    name: str
    pending: int
    idle_ms: int


class Survey(NamedTuple):
    """One look. Times are ms of the server's clock; ids are stream entry ids, "" for none.

    backlog: entries nobody has read. backlog_exact: False when it is a lower bound or Redis' own
    word for it. lost: entries that were trimmed or deleted before anybody read them, as far as
    the server's counters show. newest: (snapshot id, generated_at) of each region, None without.
    """

    at_ms: int
    stream: bool
    length: int
    first_id: str
    group: bool
    backlog: int
    backlog_exact: bool
    lost: int
    pending: int
    oldest_id: str
    highest_deliveries: int
    members: tuple[Member, ...]
    dead: int
    oldest_dead_id: str
    newest: dict[str, tuple[str, int] | None]

    @property
    def live(self) -> int:
        """How many consumers are reading."""
        return sum(member.idle_ms < LIVE_MS for member in self.members)

    def oldest_age_s(self, now_ms: int) -> float:
        """Of the oldest entry that is not settled: not read, or pending. 0 without one."""
        return age_s(self.oldest_id, now_ms)


def age_s(entry_id: str, now_ms: int) -> float:
    """Seconds since an entry was added; 0 for no entry."""
    return max(now_ms - ms_of(entry_id), 0) / 1000 if entry_id else 0.0


def ms_of(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])


def survey_of(said: dict[str, Any], regions: Sequence[str]) -> Survey:
    """Read what survey.lua tells (with what `Store.survey` counted)."""
    group = said.get("group") or {}
    backlog, exact = _backlog(said, group)
    unsettled = [i for i in (group.get("oldest_pending"), _unread(said, group)) if i]
    newest = said["newest"] or [None] * len(regions)
    return Survey(
        at_ms=int(said["at"]),
        stream="length" in said,
        length=said.get("length", 0),
        first_id=said.get("first") or "",
        group=bool(group),
        backlog=backlog,
        backlog_exact=exact,
        lost=_lost(said, group, backlog, exact),
        pending=group.get("pending", 0),
        oldest_id=min(unsettled, key=order, default=""),
        highest_deliveries=group.get("highest", 0),
        members=tuple(Member(*member) for member in group.get("members") or ()),
        dead=said["dead"],
        oldest_dead_id=said.get("oldest_dead") or "",
        newest={
            region: (found[0], int(float(found[1]))) if found else None
            for region, found in zip(regions, newest, strict=True)
        },
    )


def uncertain(said: dict[str, Any]) -> str:
    """The id after which to count, when the backlog is known no other way; else ""."""
    group = said.get("group") or {}
    return str(group["delivered"]) if group and not _backlog(said, group)[1] else ""


def credible(said: dict[str, Any]) -> bool:
    """Whether Redis' own lag can be true."""
    lag = _lag(said.get("group") or {})
    return lag is not None and lag <= said.get("length", 0)


def _backlog(said: dict[str, Any], group: dict[str, Any]) -> tuple[int, bool]:
    """Entries nobody has read, and whether that is exact.

    Redis' own `lag` is null after an unread entry was deleted, and too high for ever after unread
    ones were trimmed, so it is asked last, and believed only as far as it can be true.
    """
    length, lag = said.get("length", 0), _lag(group)
    if not group:
        return length, True
    unread = group.get("unread")
    if not unread:
        return 0, True
    if unread == said["first"]:
        return length, True
    counted = said.get("counted", 1)
    if said.get("counted_all"):
        return counted, True
    return max(counted, lag if lag is not None and lag <= length else 0), False


def _lost(said: dict[str, Any], group: dict[str, Any], backlog: int, exact: bool) -> int:
    lag = _lag(group)
    if not group:
        return 0
    if lag is not None:
        return max(lag - backlog, 0) if exact else 0
    deleted = said.get("deleted") or "0-0"
    return int(order(deleted) > order(group["delivered"]))


def _lag(group: dict[str, Any]) -> int | None:
    lag = group.get("lag", False)
    return None if lag is False else int(lag)  # Lua has no null


def _unread(said: dict[str, Any], group: dict[str, Any]) -> str:
    return str((group.get("unread") if group else said.get("first")) or "")


def order(entry_id: str) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)
