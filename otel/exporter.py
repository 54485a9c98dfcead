"""The SDK's OTLP exporter with an encoder that says what repeats from memory.

The SDK makes two protobuf messages of every attribute of every span and hashes the resource
anew for each span; of the 18 attributes of a region's trace all but four say what they said
before. Bytes of protobuf's wire format may be joined, so an attribute is encoded once and its
bytes are kept (docs/decisions/0010-lean-encoding.md).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext
from opentelemetry.util.types import Attributes

# Any: what is None for the SDK is absent for protobuf, whose stubs do not say so.
WireSpan: Any = trace_pb2.Span
WireStatus: Any = trace_pb2.Status
WireScope: Any = common_pb2.InstrumentationScope
ScopeSpans: Any = trace_pb2.ScopeSpans

# Numbers of the fields in opentelemetry/proto that hold what is joined here.
_RESOURCE_SPANS, _SCOPE_SPANS, _SPANS = 1, 2, 2
_REMOTE_IS_KNOWN, _REMOTE = 0x100, 0x200


class LeanExporter(OTLPSpanExporter):
    """Endpoint, headers, TLS, compression, retries: the SDK's, from its standard variables."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent = self._client.export(encode(spans))
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """An ExportTraceServiceRequest: the same message as the SDK's encoder makes, of attributes as
    this project makes them (text, numbers, booleans, and tuples of these)."""
    parts = []
    # One provider has one resource and one or two scopes: neighbours nearly always agree.
    for _, neighbours in groupby(spans, lambda s: (id(s.resource), id(s.instrumentation_scope))):
        same = list(neighbours)
        inside = _scope(same[0]) + b"".join([_field(_SPANS, _span(span)) for span in same])
        parts.append(_field(_RESOURCE_SPANS, _resource(same[0]) + _field(_SCOPE_SPANS, inside)))
    return b"".join(parts)


def _span(span: ReadableSpan) -> bytes:
    context, parent = span.context, span.parent
    assert context is not None
    body: bytes = WireSpan(
        trace_id=context.trace_id.to_bytes(16),
        span_id=context.span_id.to_bytes(8),
        trace_state=context.trace_state.to_header() if context.trace_state else None,
        parent_span_id=parent.span_id.to_bytes(8) if parent else None,
        name=span.name,
        kind=span.kind.value + 1,
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time,
        events=[
            WireSpan.Event(
                name=event.name, time_unix_nano=event.timestamp, attributes=_pairs(event.attributes)
            )
            for event in span.events
        ],
        links=[
            WireSpan.Link(
                trace_id=link.context.trace_id.to_bytes(16),
                span_id=link.context.span_id.to_bytes(8),
                attributes=_pairs(link.attributes),
                flags=_flags(link.context),
            )
            for link in span.links
        ],
        status=WireStatus(code=span.status.status_code.value, message=span.status.description),
        flags=_flags(parent),
    ).SerializeToString()
    return body + b"".join([_attribute(name, value) for name, value in _items(span.attributes)])


# Four values of an event are new each time; the others stay in here, being asked for each time.
@lru_cache(maxsize=4096, typed=True)
def _attribute(name: str, value: Any) -> bytes:
    return bytes(WireSpan(attributes=[_pair(name, value)]).SerializeToString())


def _pair(name: str, value: Any) -> KeyValue:
    return KeyValue(key=name, value=_value(value))


def _pairs(attributes: Attributes) -> list[KeyValue]:
    return [_pair(name, value) for name, value in _items(attributes)]


def _items(attributes: Attributes) -> Any:
    return attributes.items() if attributes else ()


def _value(value: Any) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))


def _flags(context: SpanContext | None) -> int:
    return _REMOTE_IS_KNOWN | (_REMOTE if context and context.is_remote else 0)


def _resource(span: ReadableSpan) -> bytes:
    about, schema = _pairs(span.resource.attributes), span.resource.schema_url
    made = ResourceSpans(resource=Resource(attributes=about), schema_url=schema)
    return bytes(made.SerializeToString())


def _scope(span: ReadableSpan) -> bytes:
    scope = span.instrumentation_scope
    if scope is None:
        return bytes(ScopeSpans(scope=WireScope()).SerializeToString())
    said = WireScope(name=scope.name, version=scope.version, attributes=_pairs(scope.attributes))
    return bytes(ScopeSpans(scope=said, schema_url=scope.schema_url).SerializeToString())


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field (protobuf's wire type 2)."""
    length, size = len(payload), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return bytes((number << 3 | 2,)) + size + payload
