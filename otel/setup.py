"""Providers and exporters, from OpenTelemetry's standard environment variables.

Without an endpoint nothing is exported and nothing complains. Exporting happens in a thread of
its own with a bounded queue: a collector that is slow or down costs telemetry, never an event.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from otel.exporter import LeanExporter
from otel.instruments import SCOPE

QUEUE_SIZE = 32_768
SAY_EVERY_S = 60.0
LEAVE_S = 5.0


class Tracing(NamedTuple):
    """What makes and carries spans. processor is None when nothing is exported."""

    provider: TracerProvider | None
    processor: SpanProcessor | None

    @property
    def sampler(self) -> Sampler:
        assert self.provider is not None
        return self.provider.sampler

    def shutdown(self) -> None:
        """Send what is queued, then stop; a collector that does not answer is not waited for."""
        if self.provider is not None:
            _bounded(self.provider.shutdown)


class Metering(NamedTuple):
    """meter is None when nobody would read the metrics. page: the text for Prometheus, and its
    content type; None when it is not served."""

    provider: MeterProvider | None
    meter: Meter | None
    page: Callable[[], tuple[bytes, str]] | None

    def shutdown(self) -> None:
        """Export a last time, then stop."""
        if self.provider is not None:
            _bounded(self.provider.shutdown)


def tracing(service: str, instance: str = "") -> Tracing:
    """Set up tracing for one service. OTEL_SERVICE_NAME wins over the given name."""
    if _disabled():
        return Tracing(None, None)
    calm_exporter_logs()
    provider = TracerProvider(resource=_resource(service, instance), shutdown_on_exit=False)
    if not _exported("TRACES"):
        return Tracing(provider, None)
    queue = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or QUEUE_SIZE)
    processor = BatchSpanProcessor(LeanExporter(), max_queue_size=queue)
    provider.add_span_processor(processor)
    return Tracing(provider, processor)


def metering(service: str, instance: str, *, served: bool) -> Metering:
    """Set up metrics: by OTLP where there is an endpoint, and as a page for Prometheus."""
    readers: list[MetricReader] = []
    registry = CollectorRegistry()
    if _disabled():
        return Metering(None, None, None)
    if _exported("METRICS"):
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if served:
        readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=registry))
    if not readers:
        return Metering(None, None, None)
    calm_exporter_logs()
    provider = MeterProvider(readers, _resource(service, instance), shutdown_on_exit=False)
    page = (lambda: (generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)) if served else None
    return Metering(provider, provider.get_meter(SCOPE), page)


def _bounded(work: Callable[[], None]) -> None:
    """A process that is told to leave has so long for its telemetry, and no longer."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LEAVE_S)


def _disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _exported(signal: str) -> bool:
    """Whether a signal (TRACES, METRICS) has an endpoint, and OTEL_<signal>_EXPORTER allows it."""
    if os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() == "none":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(os.environ.get(variable) for variable in endpoints)


def _resource(service: str, instance: str) -> Resource:
    about = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or service}
    # Two consumers that export by OTLP are told apart by it.
    return Resource.create(about | ({"service.instance.id": instance} if instance else {}))


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
