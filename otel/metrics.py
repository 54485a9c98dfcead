"""A finished batch → counters and histograms; how the group stands → gauges.

Cardinality is bounded: regions outside the known ones count as `other`, and everything else is a
closed set. docs/metrics.md explains each name.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from consumer.attempt import attempt
from consumer.events import kind_of
from consumer.outcome import Batch, Outcome, Settled
from consumer.survey import Survey, age_s, ms_of
from otel import instruments as names

OTHER_REGION = "other"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Counts(NamedTuple):
    """What a process has counted beside its batches, since it started."""

    reconnects: int
    trimmed: int
    vanished: int


class MetricWriter:
    """Called with each finished batch."""

    def __init__(self, meter: Meter, regions: Sequence[str], *, stream: str, group: str) -> None:
        self._stream, self._group = stream, group
        self._common = {
            names.SYSTEM: names.REDIS,
            names.DESTINATION: stream,
            names.GROUP: group,
            names.OPERATION_NAME: "process",
        }
        self._region = {region: {names.REGION: region} for region in (*regions, OTHER_REGION)}
        self._events = meter.create_counter(
            names.EVENTS_METRIC, "{event}", "Deliveries by region and what became of them"
        )
        self._in_stream = meter.create_histogram(
            names.TIME_IN_STREAM_METRIC, "s", "From an event's XADD until it was settled",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self._process = meter.create_histogram(
            names.PROCESS_METRIC, "s", "From a batch's arrival until all of it was settled",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self._batch = meter.create_histogram(
            names.BATCH_METRIC, "{event}", "Events in a batch",
            explicit_bucket_boundaries_advisory=SIZES,
        )  # fmt: skip
        self._retries = meter.create_counter(
            names.RETRIES_METRIC, "{event}", "Events sent again in the process, by the error"
        )
        self._reclaimed = meter.create_counter(
            names.RECLAIMED_METRIC, "{event}", "Abandoned events taken over"
        )
        self._dead = meter.create_counter(
            names.DEAD_LETTERS_METRIC, "{event}", "Events dead-lettered, by region and reason"
        )
        self._new_words = meter.create_counter(
            names.NEW_WORDS_METRIC, "{word}", "Words outside today's vocabularies, by field"
        )
        # From the start, so that a first event is an increase, and a silent region a flat line.
        for region in regions:
            for outcome in Outcome:
                self._events.add(0, {names.REGION: region, names.OUTCOME: outcome.value})
        self._reclaimed.add(0)

    def __call__(self, batch: Batch) -> None:
        settled, ended_s = batch.settled, batch.ended_ns / 1e9
        self._batch.record(len(settled))
        self._process.record((batch.ended_ns - batch.started_ns) / 1e9, self._common)
        if batch.claimed:
            self._reclaimed.add(len(settled))
        for retried in batch.retried:
            self._retries.add(retried.events, {names.ERROR_TYPE: retried.code})
        self._count(settled)

        exemplar = self._exemplar(settled)
        for one in settled:
            if one.outcome is not Outcome.RETRY:
                added_s = ms_of(one.event.entry.id) / 1000
                age = max(ended_s - added_s, 0.0)
                self._in_stream.record(age, self._about(one), exemplar)
                exemplar = None

    def _count(self, settled: list[Settled]) -> None:
        outcomes = Counter((self._about(one)[names.REGION], one.outcome) for one in settled)
        for (region, outcome), count in outcomes.items():
            self._events.add(count, {names.REGION: region, names.OUTCOME: outcome.value})
        for one in settled:
            if one.outcome is Outcome.DEAD_LETTERED and one.fault:
                self._dead.add(1, {**self._about(one), names.REASON: one.fault.reason})
            for path, _ in getattr(getattr(one.event, "facts", None), "surprises", ()):
                self._new_words.add(1, {names.WORD_PATH: kind_of(path)})

    def _about(self, one: Settled) -> dict[str, str]:
        return self._region.get(one.event.region) or self._region[OTHER_REGION]

    def _exemplar(self, settled: list[Settled]) -> Context | None:
        """The trace of one sampled event, for exporters that pass exemplars on (OTLP's does)."""
        for one in settled[:1]:
            here = attempt(self._stream, self._group, one.event.entry, one.event.origin)
            if here.sampled:
                context = SpanContext(here.trace_id, here.span_id, True, _SAMPLED)
                return set_span_in_context(NonRecordingSpan(context))
        return None


Look = Callable[[], tuple[Survey, int] | None]


def observe(meter: Meter, look: Look, counts: Callable[[], Counts]) -> None:
    """Gauges of the group from the last survey (none when it is too old to be true), and what a
    process counts by itself."""

    def gauge(name: str, unit: str, what: str, of: Callable[[Survey, int], float]) -> None:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            known = look()
            return [Observation(of(*known))] if known else []

        meter.create_observable_gauge(name, [observed], unit, what)

    def by_region(name: str, unit: str, what: str, of: Callable[[int, int], float | None]) -> None:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            known = look()
            for region, newest in known[0].newest.items() if known else ():
                value = of(newest[1] if newest else 0, known[1]) if known else None
                if value is not None:
                    yield Observation(value, {names.REGION: region})

        meter.create_observable_gauge(name, [observed], unit, what)

    def counter(name: str, unit: str, what: str, of: Callable[[Counts], int]) -> None:
        meter.create_observable_counter(name, [lambda _: [Observation(of(counts()))]], unit, what)

    gauge(names.GROUP_METRIC, "1", "1 when the stream has the group", lambda s, _: int(s.group))
    gauge(names.LENGTH_METRIC, "{event}", "Entries in the stream", lambda s, _: s.length)
    gauge(names.BACKLOG_METRIC, "{event}", "Entries nobody has read", lambda s, _: s.backlog)
    gauge(names.PENDING_METRIC, "{event}", "Entries read and not settled", lambda s, _: s.pending)
    gauge(names.OLDEST_METRIC, "s", "Age of the oldest unsettled entry", Survey.oldest_age_s)
    gauge(
        names.DELIVERIES_METRIC, "{delivery}", "Highest delivery count of a pending entry",
        lambda s, _: s.highest_deliveries,
    )  # fmt: skip
    gauge(names.CONSUMERS_METRIC, "{consumer}", "Consumers that are reading", lambda s, _: s.live)
    gauge(
        names.LOST_METRIC, "{event}", "Entries trimmed or deleted before anybody read them",
        lambda s, _: s.lost,
    )  # fmt: skip
    gauge(names.OPEN_LETTERS_METRIC, "{event}", "Dead letters", lambda s, _: s.dead)
    gauge(
        names.OLDEST_LETTER_METRIC, "s", "Age of the oldest dead letter",
        lambda s, now_ms: age_s(s.oldest_dead_id, now_ms),
    )  # fmt: skip
    by_region(
        names.SNAPSHOT_AGE_METRIC, "s", "Age of a region's newest snapshot",
        lambda at_ms, now_ms: max(now_ms - at_ms, 0) / 1000 if at_ms else None,
    )  # fmt: skip
    by_region(
        names.SNAPSHOT_PRESENT_METRIC, "1", "1 when a region has a snapshot",
        lambda at_ms, _: int(at_ms > 0),
    )  # fmt: skip
    counter(
        names.RECONNECTS_METRIC, "{reconnect}", "Reading went on after a failure",
        lambda c: c.reconnects,
    )  # fmt: skip
    counter(
        names.TRIMMED_METRIC, "{event}", "Acked entries trimmed past their retention",
        lambda c: c.trimmed,
    )  # fmt: skip
    counter(
        names.VANISHED_METRIC, "{event}", "Pending entries somebody deleted: lost",
        lambda c: c.vanished,
    )  # fmt: skip
