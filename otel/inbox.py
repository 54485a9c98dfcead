"""A little OTLP/HTTP receiver: what the exporters send, kept in memory to look at.

The demo draws its waterfall from it, and the tests check the real exporters with it. Nothing of
it runs in production.
"""

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan


class Seen(NamedTuple):
    """A span as it arrived. Ids are hex; kind and status are OTLP's names, shortened."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    status: str
    message: str
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    events: list[str]


class Inbox:
    """A context manager: `url` is the endpoint to export to, `spans` and `metrics` (requests as
    they came) what has come so far."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    inbox.spans.extend(_spans(body))
                if self.path == "/v1/metrics":
                    inbox.metrics.append(ExportMetricsServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, enough: Callable[[list[Seen]], bool], timeout_s: float = 20.0) -> list[Seen]:
        """Until `enough` of the spans so far; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not enough(self.spans):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not enough among {len(self.spans)} spans")
            time.sleep(0.02)
        return list(self.spans)


def _spans(body: bytes) -> list[Seen]:
    seen = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = next(
            a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
        )
        for scope in resource.scope_spans:
            seen += [_seen(service, span) for span in scope.spans]
    return seen


def _seen(service: str, span: WireSpan) -> Seen:
    return Seen(
        service,
        span.name,
        WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        {0: "UNSET", 1: "OK", 2: "ERROR"}[span.status.code],
        span.status.message,
        {a.key: _value(a.value) for a in span.attributes},
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        [event.name for event in span.events],
    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
