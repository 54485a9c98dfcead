"""Our encoder says what the SDK's says, byte order aside: the SDK's is the oracle."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from otel.exporter import encode

RESOURCE = Resource.create({"service.name": "a service", "process.pid": 7})
SCOPE = InstrumentationScope("region-stream", "1.0", "https://schema", {"a": 1})

plain = st.one_of(
    st.text(max_size=200),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.floats(allow_nan=False),
)
values = st.one_of(plain, st.lists(st.text(max_size=5), max_size=3).map(tuple))
attributes = st.dictionaries(st.text(min_size=1, max_size=20), values, max_size=6)
times = st.integers(0, 2**63)
states = st.one_of(st.none(), st.just(TraceState([("a", "1"), ("b", "2")])))
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.just(TraceFlags(1)),
    states,
)
statuses = st.sampled_from([Status(StatusCode.UNSET), Status(StatusCode.ERROR, "no: é")])
spans = st.builds(
    ReadableSpan,
    st.text(max_size=300),
    contexts,
    st.one_of(st.none(), contexts),
    st.just(RESOURCE),
    attributes,
    st.lists(st.builds(Event, st.text(max_size=9), attributes, times), max_size=2),
    st.lists(st.builds(Link, contexts, attributes), max_size=2),
    st.sampled_from(SpanKind),
    status=statuses,
    start_time=times,
    end_time=times,
    instrumentation_scope=st.just(SCOPE),
)


@given(st.lists(spans, min_size=1, max_size=4))
def test_the_same_message_as_the_sdk(made: list[ReadableSpan]) -> None:
    assert ExportTraceServiceRequest.FromString(encode(made)) == encode_spans(made)


def test_spans_of_two_scopes_keep_theirs() -> None:
    context = SpanContext(1, 2, False, TraceFlags(1))
    scopes = [InstrumentationScope(name) for name in ("a", "b")]
    made = [
        ReadableSpan(
            "s", context, resource=RESOURCE, instrumentation_scope=s, start_time=1, end_time=2
        )
        for s in scopes
    ]
    sent = ExportTraceServiceRequest.FromString(encode(made)).resource_spans
    assert [s.scope_spans[0].scope.name for s in sent] == ["a", "b"]


def test_one_and_true_are_different_values() -> None:
    context = SpanContext(1, 2, False, TraceFlags(1))
    made = [
        ReadableSpan("s", context, resource=RESOURCE, attributes={"x": v}, start_time=1, end_time=2)
        for v in (1, True, 1.0)
    ]
    assert ExportTraceServiceRequest.FromString(encode(made)) == encode_spans(made)
