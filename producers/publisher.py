"""RegionPublisher: a cycle of snapshots onto the stream, all of them or none."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Self, overload

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link as SpanLink
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from redis.backoff import FullJitterBackoff

from consumer.events import CYCLE, SNAPSHOT, TRACEPARENT, TRACESTATE, Facts, Fault, Rules, check
from consumer.link import Command, Link, LinkError, LinkTimeout, Reply, ResponseError, code_of
from otel import instruments as names
from producers.errors import InvalidSnapshots, NotDurable, PublishFailed
from producers.receipts import Receipt, receipts

SnapshotLike = bytes | str | Mapping[str, Any]

# What a server says when it cannot now, but may in a moment.
_PASSING = frozenset(
    ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "NOREPLICAS", "OOM"]
)


class _Checked(NamedTuple):
    raw: bytes
    facts: Facts


class RegionPublisher:
    """Publishes regional snapshots; an async context manager.

        async with RegionPublisher("redis://localhost:6379/0") as publisher:
            entry_ids = await publisher.publish(snapshots)

    `transaction`: most snapshots in one MULTI/EXEC. `retry_s`: how long a lost connection or a
    server that cannot now (LOADING, READONLY, OOM…) is tried again, with exponential backoff and
    full jitter. `durable=True` also waits until each transaction is on the server's disk
    (WAITAOF: Redis 7.2, Valkey, with the append-only file on).

    Trying again is safe: when a reply is lost it is unknown whether the transaction ran, so it
    is sent again, and the stream may then hold an entry twice. Both carry the same snapshot id,
    so the consumer writes one and recognises the other (`redelivered`).
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        stream: str = "region-events",
        rules: Rules = Rules(),  # noqa: B008 (immutable)
        transaction: int = 500,
        retry_s: float = 10.0,
        durable: bool = False,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._link = Link(url)
        self._stream = stream
        self._rules = rules
        self._transaction = transaction
        self._retry_s = retry_s
        self._durable = durable
        self._tracer = trace.get_tracer(names.SCOPE, tracer_provider=tracer_provider)
        self._propagator = TraceContextTextMapPropagator()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._link.close()

    @overload
    async def publish(
        self, snapshots: Iterable[SnapshotLike], *, cycle: str | None = ...
    ) -> list[str]: ...

    @overload
    async def publish(
        self,
        snapshots: Iterable[SnapshotLike],
        *,
        cycle: str | None = ...,
        wait: Literal[True],
        timeout_s: float = ...,
    ) -> list[Receipt]: ...

    async def publish(
        self,
        snapshots: Iterable[SnapshotLike],
        *,
        cycle: str | None = None,
        wait: bool = False,
        timeout_s: float = 30.0,
    ) -> list[str] | list[Receipt]:
        """Validate all, then send them: one MULTI/EXEC, one round trip; returns the entry ids.

        snapshots: JSON as bytes or text (kept byte for byte), or mappings. cycle: a name for
        this run, the same on all its entries; made up when not given. More snapshots than one
        transaction holds go in several, in order.

        wait: return a Receipt for each instead, when all are settled or timeout_s is over.

        Raises InvalidSnapshots (nothing was sent), PublishFailed (see its `sent`), NotDurable.
        """
        entry_ids = await self._publish(snapshots, cycle)
        return await self.receipts(entry_ids, timeout_s) if wait else entry_ids

    async def receipts(self, entry_ids: Sequence[str], timeout_s: float = 30.0) -> list[Receipt]:
        """What became of published entries, in order; waits until all of them are settled."""
        return await receipts(self._link, self._stream, entry_ids, timeout_s)

    async def _publish(self, snapshots: Iterable[SnapshotLike], cycle: str | None) -> list[str]:
        checked = self._check(snapshots)
        if self._durable and checked:
            await self._must_confirm()
        cycle = cycle or f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
        entry_ids: list[str] = []
        for start in range(0, len(checked), self._transaction):
            part = checked[start : start + self._transaction]
            with self._spans(part, cycle) as spans:
                commands = [
                    self._xadd(one, span, cycle) for one, span in zip(part, spans, strict=True)
                ]
                part_ids = await self._send(commands, entry_ids)
                for span, entry_id in zip(spans, part_ids, strict=True):
                    span.set_attribute(names.MESSAGE_ID, entry_id)
            entry_ids += part_ids
        return entry_ids

    def _check(self, snapshots: Iterable[SnapshotLike]) -> list[_Checked]:
        now_ms = time.time_ns() // 1_000_000
        checked: list[_Checked] = []
        faults: list[tuple[int, Fault]] = []
        for position, snapshot in enumerate(snapshots):
            raw = to_bytes(snapshot)
            verdict = check(raw, self._rules, now_ms)
            if isinstance(verdict, Facts):
                checked.append(_Checked(raw, verdict))
            else:
                faults.append((position, verdict))
        if faults:
            raise InvalidSnapshots(faults)
        return checked

    def _xadd(self, one: _Checked, span: Span, cycle: str) -> Command:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, trace.set_span_in_context(span, Context()))
        traced: list[bytes | str] = []
        for field in (TRACEPARENT, TRACESTATE):
            if value := carrier.get(field.decode()):
                traced += [field, value]
        return ("XADD", self._stream, "*", SNAPSHOT, one.raw, CYCLE, cycle, *traced)

    @contextmanager
    def _spans(self, part: Sequence[_Checked], cycle: str) -> Iterator[list[Span]]:
        """A new trace for each region, linked to whatever span is current."""
        current = trace.get_current_span().get_span_context()
        links = [SpanLink(current)] if current.is_valid else []
        spans = [
            self._tracer.start_span(
                names.send_span(self._stream),
                context=Context(),
                kind=SpanKind.PRODUCER,
                attributes=self._attributes(one, cycle, len(part)),
                links=links,
            )
            for one in part
        ]
        try:
            yield spans
        except Exception as error:
            for span in spans:
                span.set_attribute(names.ERROR_TYPE, type(error).__name__)
                span.set_status(Status(StatusCode.ERROR, str(error)[:300]))
            raise
        finally:
            for span in spans:
                span.end()

    def _attributes(self, one: _Checked, cycle: str, count: int) -> dict[str, str | int]:
        return {
            names.SYSTEM: names.REDIS,
            names.DESTINATION: self._stream,
            names.OPERATION_NAME: "send",
            names.OPERATION_TYPE: "send",
            names.BATCH_COUNT: count,
            names.BODY_SIZE: len(one.raw),
            names.REGION: one.facts.region,
            names.SNAPSHOT: one.facts.snapshot_id,
            names.CYCLE: cycle,
        }

    async def _send(self, commands: list[Command], sent: list[str]) -> list[str]:
        """One transaction, tried again while the budget lasts. Safe: see the class."""
        transaction: list[Command] = [("MULTI",), *commands, ("EXEC",)]
        if self._durable:
            transaction.append(("WAITAOF", 1, 0, int(self._link.timeout_s * 1000) // 2))
        backoff, failures = FullJitterBackoff(cap=1.0, base=0.05), 0
        deadline = time.monotonic() + self._retry_s
        while True:
            try:
                return self._ids(await self._link.call(transaction), len(commands), sent)
            except (LinkError, LinkTimeout, _NotNow) as error:
                failures += 1
                delay = backoff.compute(min(failures, 10))
                if time.monotonic() + delay > deadline:
                    raise PublishFailed(
                        f"not published within {self._retry_s:g} s: {error}", sent
                    ) from error
                await asyncio.sleep(delay)

    def _ids(self, replies: list[Reply], count: int, sent: list[str]) -> list[str]:
        executed = replies[count + 1]
        answers = executed if isinstance(executed, list) else replies[: count + 2]
        for answer in answers:
            if isinstance(answer, ResponseError):
                code = code_of(answer)
                if code in _PASSING:
                    raise _NotNow(f"{code} {answer}")
                raise PublishFailed(f"the server refused: {answer}", sent)
        ids = [answer.decode() for answer in executed]
        if self._durable:
            confirmed = replies[-1]
            if isinstance(confirmed, ResponseError):
                raise NotDurable(f"taken, but not confirmed on disk: {confirmed}", sent + ids)
            if confirmed[0] < 1:
                raise _NotNow("the append-only file was not synced in time")
        return ids

    async def _must_confirm(self) -> None:
        """Ask before anything is sent: can this server confirm what is on its disk?"""
        known, persistence = await self._link.call(
            [("COMMAND", "INFO", "WAITAOF"), ("INFO", "persistence")]
        )
        for refused in (known, persistence):
            if isinstance(refused, ResponseError):
                raise NotDurable(
                    f"nothing was sent: the server will not tell what it can confirm: {refused}", []
                )
        if not known or known[0] is None:
            raise NotDurable(
                "nothing was sent: this server has no WAITAOF (Redis 7.2, Valkey); "
                "publish without durable=True, or with appendfsync always on the server",
                [],
            )
        if b"aof_enabled:1" not in persistence:
            raise NotDurable(
                "nothing was sent: the server's append-only file is off (appendonly yes)", []
            )


class _NotNow(Exception):
    """The server cannot at the moment."""


def to_bytes(snapshot: SnapshotLike) -> bytes:
    if isinstance(snapshot, bytes):
        return snapshot
    if isinstance(snapshot, str):
        return snapshot.encode()
    return json.dumps(snapshot, ensure_ascii=False, separators=(",", ":")).encode()


__all__ = [
    "InvalidSnapshots",
    "NotDurable",
    "PublishFailed",
    "Receipt",
    "RegionPublisher",
    "to_bytes",
]
