"""Providers and exporters, from OpenTelemetry's standard environment variables.

Without an endpoint nothing is exported and nothing complains. Exporting happens in a thread of
its own with a bounded queue: a collector that is slow or down costs telemetry, never an event.
"""

import logging
import os
import time
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler

from otel.exporter import LeanExporter

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
QUEUE_SIZE = 32_768
SAY_EVERY_S = 60.0


class Tracing(NamedTuple):
    """What makes and carries spans. processor is None when nothing is exported."""

    provider: TracerProvider | None
    processor: SpanProcessor | None

    @property
    def sampler(self) -> Sampler:
        assert self.provider is not None
        return self.provider.sampler

    def shutdown(self) -> None:
        """Send what is queued, then stop; a dead collector ends it within its own timeout."""
        if self.provider is not None:
            self.provider.shutdown()


def tracing(service: str) -> Tracing:
    """Set up tracing for one service. OTEL_SERVICE_NAME wins over the given name."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Tracing(None, None)
    calm_exporter_logs()
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    if not any(os.environ.get(variable) for variable in _ENDPOINTS):
        return Tracing(provider, None)
    queue = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or QUEUE_SIZE)
    processor = BatchSpanProcessor(LeanExporter(), max_queue_size=queue)
    provider.add_span_processor(processor)
    return Tracing(provider, processor)


class OncePerMinute(logging.Filter):
    """An exporter that cannot reach its collector says so once a minute, not at each try."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at = -SAY_EVERY_S

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._said_at < SAY_EVERY_S:
            return False
        self._said_at = now
        record.exc_info = None
        return True


_calm = OncePerMinute()


def calm_exporter_logs() -> None:
    """One filter for all of OpenTelemetry's loggers that may speak from the export thread."""
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith("opentelemetry."):
            logging.getLogger(name).addFilter(_calm)
