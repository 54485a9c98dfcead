"""What a person does with dead letters: look, send again, discard, take elsewhere."""

import getpass
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from consumer import keys
from consumer.decode import Entry
from consumer.link import Link, ResponseError, pairs
from consumer.scripts import run, script, single
from consumer.settings import Settings
from consumer.survey import ms_of

LIST, REPLAY, DISCARD, RESTORE = map(script, ("letters", "replay", "discard", "restore"))
PREFIX = "event."


class Letter(NamedTuple):
    """A dead letter without its payload. `about` has the fields of docs/dead-letters.md."""

    id: str
    about: dict[str, str]
    size: int

    def get(self, name: str) -> str:
        return self.about.get(name, "")

    @property
    def failed_ms(self) -> int:
        said = self.get("failed_at")
        return int(said) if said.isdecimal() else ms_of(self.id)


class Wanted(NamedTuple):
    """Which letters; an empty rule is no rule. since_ms: failed at or after."""

    region: str = ""
    reason: str = ""
    fingerprint: str = ""
    since_ms: int = 0

    def takes(self, letter: Letter) -> bool:
        rules = {"region": self.region, "reason": self.reason, "fingerprint": self.fingerprint}
        return letter.failed_ms >= self.since_ms and all(
            not rule or letter.get(name) == rule for name, rule in rules.items()
        )


class Letters:
    """The dead letters of one stream."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._dead = settings.dead_stream
        self._audit = keys.audit(settings.dead_stream)
        self._by = f"{getpass.getuser()}@{socket.gethostname()}"

    async def scan(
        self, wanted: Callable[[Letter], bool] = lambda _: True
    ) -> AsyncIterator[Letter]:
        """The wanted ones, oldest first, a thousand a round trip."""
        start = "-"
        while rows := await single(self._link, LIST, 1, self._dead, start, read_only=True):
            for raw_id, flat, size in rows:
                letter = Letter(raw_id.decode(), _texts(flat), size)
                if wanted(letter):
                    yield letter
            start = f"({rows[-1][0].decode()}"

    async def fields(self, ids: Sequence[str]) -> list[dict[bytes, bytes] | None]:
        """All fields of some letters, payload included, in order; None for one that is gone."""
        found = await self._link.call([("XRANGE", self._dead, i, i) for i in ids])
        return [pairs(rows[0][1]) if rows else None for rows in map(_raised, found)]

    async def replay(self, ids: Sequence[str], mended: bytes = b"") -> list[str | ResponseError]:
        """Back on the stream, each atomically; the new entries' ids in order, "" for one that is
        gone, an error for one that the server refuses. mended: a payload in place of the old."""
        at = str(time.time_ns() // 1_000_000)
        arguments = [
            (3, self._dead, self._settings.stream, self._audit, i, mended, self._by, at)
            for i in ids
        ]
        replies = await run(self._link, REPLAY, arguments)
        return [
            reply if isinstance(reply, ResponseError) else (reply or b"").decode()
            for reply in replies
        ]

    async def discard(self, ids: Sequence[str]) -> int:
        """Away for good, each with a note in the audit stream; how many it was."""
        at = str(time.time_ns() // 1_000_000)
        arguments = [(2, self._dead, self._audit, i, self._by, at) for i in ids]
        return sum(map(_raised, await run(self._link, DISCARD, arguments)))

    async def restore(self, letters: Sequence[tuple[str, dict[bytes, bytes]]]) -> int:
        """Put exported letters back; how many were not there."""
        arguments = [
            (1, self._dead, i, *(part for pair in fields.items() for part in pair))
            for i, fields in letters
        ]
        return sum(
            reply is not None for reply in map(_raised, await run(self._link, RESTORE, arguments))
        )

    async def audit(self) -> list[dict[str, str]]:
        """What people did, oldest first: action, dead_id, entry_id, by, at, and what it was."""
        return [_texts(flat) for _, flat in await self._link.one("XRANGE", self._audit, "-", "+")]


def entry_of(dead_id: str, fields: dict[bytes, bytes]) -> Entry:
    """The event as it would come back."""
    prefix = PREFIX.encode()
    own = {k.removeprefix(prefix): v for k, v in fields.items() if k.startswith(prefix)}
    return Entry(dead_id, own)


def _texts(flat: list[bytes]) -> dict[str, str]:
    return {
        k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in pairs(flat).items()
    }


def _raised(reply: Any) -> Any:
    if isinstance(reply, ResponseError):
        raise reply
    return reply
