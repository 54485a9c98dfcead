"""Snapshots from files: one JSON a line, or one JSON array; where each came from is kept."""

import json
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_SPACE = b" \t\r\n"


class Line(NamedTuple):
    """One snapshot's bytes, exactly as they stood, and the line they began on (from 1)."""

    number: int
    raw: bytes


class Unreadable(ValueError):
    """An array that is none, with the line at fault."""


def read(source: BinaryIO) -> Iterator[Line]:
    """Lines one by one, in flat memory; an array is read whole. Raises Unreadable."""
    skipped = 0
    for number, line in enumerate(source, 1):
        text = line.strip(_SPACE)
        if not text:
            skipped += 1
            continue
        if number == skipped + 1 and text.startswith(b"["):
            yield from _array(line + source.read(), number)
            return
        yield Line(number, text)


def _array(data: bytes, first_line: int) -> Iterator[Line]:
    """The elements of a JSON array, each as the very text it was."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = first_line + data[: error.start].count(b"\n")
        raise Unreadable(f"line {line}: not UTF-8") from None
    decoder = json.JSONDecoder()
    position, number, counted = text.index("[") + 1, first_line, 0
    closed = False
    while True:
        position = _skip(text, position)
        if text[position : position + 1] == "]":
            closed = True
            break
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            line = first_line + text.count("\n", 0, getattr(error, "pos", position))
            raise Unreadable(f"line {line}: not a JSON array of snapshots") from None
        number += text.count("\n", counted, position)
        counted = position
        yield Line(number, text[position:end].encode())
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            position += 1
    if not closed or text[position + 1 :].strip():
        raise Unreadable("there is more after the array")


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position
