"""A finished batch → its spans. Built after the fact, with the times of what happened.

The spans are `ReadableSpan`s made whole, not `Span`s opened and closed: an event that is not
sampled costs no span at all, and one that is costs a third (docs/decisions/0007-traces.md).
"""

import random
from collections.abc import Iterator

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from consumer.attempt import REPLAY_TRACE, Attempt, attempt, parse
from consumer.decode import RegionEvent
from consumer.outcome import Batch, Outcome, Settled
from otel import instruments as names

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_OK = Status(StatusCode.UNSET)
_SCOPE = InstrumentationScope(names.SCOPE)


class SpanWriter:
    """Called with each finished batch; hands the spans of its sampled events to the processor."""

    def __init__(
        self,
        processor: SpanProcessor,
        sampler: Sampler,
        resource: Resource,
        *,
        stream: str,
        dead_stream: str,
        group: str,
        consumer: str,
    ) -> None:
        self._processor = processor
        self._sampler = sampler
        self._resource = resource
        self._stream = stream
        self._dead_stream = dead_stream
        self._group = group
        self._process = names.process_span(stream)
        self._common: dict[str, AttributeValue] = {
            names.SYSTEM: names.REDIS,
            names.DESTINATION: stream,
            names.OPERATION_NAME: "process",
            names.OPERATION_TYPE: "process",
            names.GROUP: group,
            names.CLIENT_ID: consumer,
        }
        self._persist: dict[str, AttributeValue] = {
            names.DB_SYSTEM: names.REDIS,
            names.DB_OPERATION: "EVALSHA",
            names.DB_PROCEDURE: "persist",
        }

    def __call__(self, batch: Batch) -> None:
        # The same for every event of the batch, so made once.
        self._persist[names.DB_BATCH_SIZE] = sum(
            isinstance(settled.event, RegionEvent) for settled in batch.settled
        )
        for settled in batch.settled:
            event = settled.event
            here = attempt(self._stream, self._group, event.entry, event.origin)
            if self._wanted(here, settled):
                for span in self._spans(batch, settled, here):
                    self._processor.on_end(span)

    def _wanted(self, here: Attempt, settled: Settled) -> bool:
        """Failed regions are always kept; the others as the standard sampler decides."""
        if settled.outcome is Outcome.DEAD_LETTERED:
            return True
        parent = None
        if here.parent_id:
            flags = _SAMPLED if here.sampled else TraceFlags(0)
            remote = SpanContext(here.trace_id, here.parent_id, True, flags)
            parent = set_span_in_context(NonRecordingSpan(remote))
        result = self._sampler.should_sample(
            parent, here.trace_id, self._process, SpanKind.CONSUMER, self._common
        )
        return result.decision is not Decision.DROP

    def _spans(self, batch: Batch, settled: Settled, here: Attempt) -> Iterator[ReadableSpan]:
        context = self._context(here.trace_id, here.span_id, settled)
        parent = (
            SpanContext(here.trace_id, here.parent_id, True, _SAMPLED, context.trace_state)
            if here.parent_id
            else None
        )
        dead = settled.outcome is Outcome.DEAD_LETTERED
        tried = isinstance(settled.event, RegionEvent)
        persist = batch.persist_ns if tried else None
        buried = batch.bury_ns if settled.fault is not None else None
        if persist:
            yield self._child(
                context, names.PERSIST_SPAN, SpanKind.CLIENT, persist,
                self._persist_attributes(settled), _status(settled, tried),
            )  # fmt: skip
        if dead and buried:
            yield self._child(
                context, names.send_span(self._dead_stream), SpanKind.PRODUCER,
                buried, self._dead_attributes(settled), _OK,
            )  # fmt: skip
        yield ReadableSpan(
            self._process,
            context,
            parent,
            self._resource,
            self._process_attributes(settled, here),
            _retries(batch, settled),
            self._links(here, context, settled),
            SpanKind.CONSUMER,
            status=_status(settled, dead),
            start_time=batch.started_ns,
            end_time=(buried or persist or (0, batch.ended_ns))[1],
            instrumentation_scope=_SCOPE,
        )

    def _child(
        self,
        parent: SpanContext,
        name: str,
        kind: SpanKind,
        times: tuple[int, int],
        attributes: dict[str, AttributeValue],
        status: Status,
    ) -> ReadableSpan:
        identity = random.getrandbits(64) or 1
        context = SpanContext(parent.trace_id, identity, False, _SAMPLED, parent.trace_state)
        return ReadableSpan(
            name, context, parent, self._resource, attributes, (), (), kind,
            status=status, start_time=times[0], end_time=times[1], instrumentation_scope=_SCOPE,
        )  # fmt: skip

    @staticmethod
    def _context(trace_id: int, span_id: int, settled: Settled) -> SpanContext:
        state = settled.event.origin.tracestate
        return SpanContext(
            trace_id, span_id, False, _SAMPLED, TraceState.from_header([state]) if state else None
        )

    def _links(self, here: Attempt, context: SpanContext, settled: Settled) -> tuple[Link, ...]:
        """To the delivery before this one; of a replay, to the attempt that failed."""
        links = []
        if here.previous_id:
            before = SpanContext(
                here.trace_id, here.previous_id, True, _SAMPLED, context.trace_state
            )
            links.append(Link(before, {names.LINK_KIND: "previous_delivery"}))
        failed = parse(settled.event.entry.fields.get(REPLAY_TRACE, b"").decode("ascii", "replace"))
        if failed:
            trace_id, span_id, _ = failed
            dead = SpanContext(trace_id, span_id, True, _SAMPLED)
            links.append(Link(dead, {names.LINK_KIND: "replay_of"}))
        return tuple(links)

    def _process_attributes(self, settled: Settled, here: Attempt) -> dict[str, AttributeValue]:
        event = settled.event
        attributes = {
            **self._common,
            names.MESSAGE_ID: event.entry.id,
            names.REGION: event.region,
            names.SNAPSHOT: event.snapshot_id,
            names.OUTCOME: settled.outcome.value,
            names.ATTEMPT: event.entry.deliveries,
            names.CYCLE: event.origin.cycle,
        }
        if settled.other:
            attributes[names.OTHER] = settled.other
        if isinstance(event, RegionEvent):
            attributes[names.BODY_SIZE] = len(event.raw)
            attributes[names.GENERATED_AT] = event.facts.generated_at
            if event.facts.surprises:
                new = event.facts.surprises[:10]
                attributes[names.NEW_WORDS] = tuple(f"{path}={word}" for path, word in new)
        if fault := settled.fault:
            attributes[names.ERROR_TYPE] = fault.error_type
            attributes[names.REASON] = fault.reason
            attributes[names.STAGE] = fault.stage
            attributes[names.PATHS] = fault.paths
        elif settled.trouble:
            attributes[names.ERROR_TYPE] = settled.trouble.code
        return attributes

    def _persist_attributes(self, settled: Settled) -> dict[str, AttributeValue]:
        attributes = {**self._persist, names.REGION: settled.event.region}
        if fault := settled.fault or settled.trouble:
            attributes[names.ERROR_TYPE] = getattr(fault, "error_type", None) or fault[1]
        return attributes

    def _dead_attributes(self, settled: Settled) -> dict[str, AttributeValue]:
        assert settled.fault is not None
        return {
            names.SYSTEM: names.REDIS,
            names.DESTINATION: self._dead_stream,
            names.OPERATION_NAME: "send",
            names.OPERATION_TYPE: "send",
            names.MESSAGE_ID: settled.other,
            names.REGION: settled.event.region,
            names.DEAD_ID: settled.other,
            names.REASON: settled.fault.reason,
            names.ERROR_TYPE: settled.fault.error_type,
        }


def _status(settled: Settled, failed: bool) -> Status:
    """ERROR only on a final failure: a retry is an event on the span."""
    if failed and settled.outcome is Outcome.DEAD_LETTERED and settled.fault:
        return Status(StatusCode.ERROR, f"{settled.fault.reason}: {settled.fault.message}"[:300])
    return _OK


def _retries(batch: Batch, settled: Settled) -> list[Event]:
    events = [
        Event(
            names.RETRY_EVENT, {names.ERROR_TYPE: retry.code, "message": retry.message}, retry.at_ns
        )
        for retry in batch.retried
    ]
    if settled.trouble:
        final: dict[str, AttributeValue] = {
            names.ERROR_TYPE: settled.trouble.code,
            "message": settled.trouble.message,
        }
        events.append(Event("left pending", final, batch.ended_ns))
    return events
