"""Pointing at a fault in a payload, and telling two documents apart. Pure."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

AROUND = 2


def pointed(raw: bytes, paths: list[str]) -> list[tuple[bool, str]]:
    """Lines of the payload around the fields at fault: (whether it is one, the line).

    A path that is not there (a missing field) points at the object it should be in. What is not
    JSON is shown as its first bytes.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return [(True, repr(raw[:300])[2:-1] + (" …" if len(raw) > 300 else ""))]
    lines = list(_lines(document, "", ""))
    there = {path for path, _ in lines}
    marked = {_nearest(path, there) for path in paths}
    hits = [i for i, (path, _) in enumerate(lines) if path in marked]
    # Of an object its first line is enough.
    first = {lines[i][0]: i for i in reversed(hits)}
    shown: list[tuple[bool, str]] = []
    last = -1
    for hit in sorted(first.values()):
        begin = max(hit - AROUND, last + 1)
        if last >= 0 and begin > last + 1:
            shown.append((False, "…"))
        for i in range(begin, min(hit + AROUND + 1, len(lines))):
            shown.append((i in first.values(), lines[i][1]))
            last = i
    return shown


def differences(broken: bytes, good: bytes) -> list[str]:
    """How the shape of one document differs from another's: `- field`, missing here; `+ field`,
    only here; `~ field`, of another type. List positions count as one."""
    try:
        here, there = _shape(json.loads(broken)), _shape(json.loads(good))
    except (ValueError, RecursionError):
        return []
    return [
        *(f"- {path} ({there[path]})" for path in _only(there, here)),
        *(f"+ {path} ({here[path]})" for path in _only(here, there)),
        *(
            f"~ {path} ({there[path]} → {here[path]})"
            for path in sorted(here.keys() & there.keys())
            if here[path] != there[path]
        ),
    ]


def _only(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Paths of one alone; what is in a list that the other has empty tells nothing."""
    return [
        path
        for path in sorted(one.keys() - other.keys())
        if all(path[: at.start()] + ".*" in other for at in re.finditer(r"\.\*", path))
    ]


def _nearest(path: str, there: set[str]) -> str:
    while path and path not in there:
        path = path.rpartition(".")[0]
    return path


def _lines(value: Any, path: str, label: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    indent = "  " * depth
    if isinstance(value, dict) and value:
        yield path, f"{indent}{label}{{"
        for name, inner in value.items():
            yield from _lines(
                inner, f"{path}.{name}".lstrip("."), f"{json.dumps(name)}: ", depth + 1
            )
        yield "", f"{indent}}}"
    elif isinstance(value, list) and value:
        yield path, f"{indent}{label}["
        for number, inner in enumerate(value):
            yield from _lines(inner, f"{path}.{number}".lstrip("."), "", depth + 1)
        yield "", f"{indent}]"
    else:
        text = json.dumps(value, ensure_ascii=False)
        yield path, f"{indent}{label}{text[:160]}{' …' if len(text) > 160 else ''}"


def _shape(value: Any, path: str = "") -> dict[str, str]:
    kind = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number",
            float: "number", type(None): "null"}[type(value)]  # fmt: skip
    found = {path: kind} if path else {}
    inside: Iterable[tuple[str, Any]] = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inside = [("*", inner) for inner in value]
    for name, inner in inside:
        found |= _shape(inner, f"{path}.{name}".lstrip("."))
    return found
