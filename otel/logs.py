"""Structured log lines: one JSON object a line, on standard error, with trace ids."""

import logging
import sys
from collections import Counter
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from consumer.attempt import attempt
from consumer.outcome import Batch, Outcome, Settled

_NAMED = 8
_FAILED = frozenset({Outcome.DEAD_LETTERED, Outcome.RETRY})

logger = logging.getLogger("regions.events")


def configure(level: str) -> None:
    """JSON lines on stderr for everything in this process. Level: a standard name."""
    formatter = JsonFormatter(
        "{levelname}{name}{message}",
        style="{",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Both tell of each start and stop in their own words; ours are enough.
    for chatty in ("uvicorn.error", "regions.faststream"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class LogWriter:
    """Called with each finished batch: a summary at INFO (WARNING when a region failed), with
    the failed events and, of a small batch, all of them by id; each event alone at DEBUG."""

    def __init__(self, *, stream: str, group: str) -> None:
        self._stream = stream
        self._group = group

    def __call__(self, batch: Batch) -> None:
        failed = [s for s in batch.settled if s.outcome in _FAILED]
        level = logging.WARNING if failed else logging.INFO
        if logger.isEnabledFor(level):
            named = failed[:_NAMED] or (batch.settled if len(batch.settled) <= _NAMED else [])
            extra: dict[str, Any] = {
                "outcomes": Counter(settled.outcome.value for settled in batch.settled),
                "ms": round((batch.ended_ns - batch.started_ns) / 1e6, 2),
                "claimed": batch.claimed,
                "events": [self._line(settled) for settled in named],
            }
            if batch.retried:
                extra["retries"] = len(batch.retried)
            logger.log(level, "batch of %d settled", len(batch.settled), extra=extra)
        if logger.isEnabledFor(logging.DEBUG):
            for settled in batch.settled:
                logger.debug("event settled", extra=self._line(settled))

    def _line(self, settled: Settled) -> dict[str, Any]:
        event = settled.event
        here = attempt(self._stream, self._group, event.entry, event.origin)
        line = {
            "region": event.region,
            "message_id": event.entry.id,
            "snapshot_id": event.snapshot_id,
            "outcome": settled.outcome.value,
            "trace_id": f"{here.trace_id:032x}",
            "span_id": f"{here.span_id:016x}",
        }
        if settled.fault:
            line |= {"reason": settled.fault.reason, "error": settled.fault.message[:300]}
        elif settled.trouble:
            line |= {"reason": settled.trouble.code, "error": settled.trouble.message}
        return line
