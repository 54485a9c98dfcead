"""Reading snapshots from files: lines, arrays, and where a fault stands."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.files import Line, Unreadable, read

documents = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(), max_size=4))


def lines(data: bytes) -> list[Line]:
    return list(read(io.BytesIO(data)))


def test_lines_are_numbered_as_they_stand() -> None:
    assert lines(b'\n{"a":1}\n\n{"b":2}') == [Line(2, b'{"a":1}'), Line(4, b'{"b":2}')]


def test_a_broken_line_is_passed_on_for_the_check_to_name() -> None:
    assert lines(b'{"a":\nnope\n') == [Line(1, b'{"a":'), Line(2, b"nope")]


def test_an_array_keeps_each_element_s_text() -> None:
    assert lines(b'[\n {"a":  1},\n {"b":"\xc3\xa9"}\n]\n') == [
        Line(2, b'{"a":  1}'),
        Line(3, b'{"b":"\xc3\xa9"}'),
    ]


@pytest.mark.parametrize("data", [b'[{"a":1}', b'[{"a":1} x]', b"[1,,2]", b"[1] 2", b"[\xff]"])
def test_what_is_no_array(data: bytes) -> None:
    with pytest.raises(Unreadable):
        lines(data)


@given(documents, st.sampled_from([None, 1]))
def test_arrays_come_back_as_they_were(listed: list[object], indent: int | None) -> None:
    data = json.dumps(listed, indent=indent).encode()
    assert [json.loads(line.raw) for line in lines(data)] == listed
