"""On which line of a TOML file each key stands.

Neither tomllib nor tomlkit (0.15) tells the position of a key that it has read. So the file is cut into its
statements with tomllib itself as the judge: lines are added until they parse alone, which is exactly when a
statement is complete, multi-line strings and arrays included. No second grammar, hence no second opinion of
what the file says.
"""

import tomllib
from collections.abc import Iterator
from typing import Any

MAX_STATEMENT_LINES = 1000
"""A statement that is longer is not searched: every added line is one more parse of it."""

Key = tuple[str, ...]


def key_lines(text: str) -> dict[Key, int]:
    """The line (from 1) of every key of a valid TOML document, tables included: ``{("worker", "cores"): 3}``.

    Keys of arrays of tables carry their index as text, ``("hosts", "0", "name")``. Keys behind an overlong
    statement are missing from the answer.
    """
    lines: dict[Key, int] = {}
    table: Key = ()
    seen: dict[Key, int] = {}
    for number, statement in _statements(text):
        document = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _only_path(document)
            if statement.lstrip().startswith("[["):
                index = seen[table] = seen.get(table, -1) + 1
                table = (*table, str(index))
            lines.setdefault(table, number)
        else:
            for path in _paths(document):
                for length in range(1, len(path) + 1):
                    lines.setdefault((*table, *path[:length]), number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Every statement with the number of its first line; blank lines and comments are no statements."""
    pending: list[str] = []
    first = 1
    for number, line in enumerate(text.split("\n"), start=1):
        if not pending:
            first = number
        pending.append(line)
        statement = "\n".join(pending)
        if not statement.strip() or statement.lstrip().startswith("#"):
            pending = []
            continue
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            if len(pending) >= MAX_STATEMENT_LINES:
                return
            continue
        yield first, statement
        pending = []


def _only_path(document: dict[str, Any]) -> Key:
    """The path of a header: ``{"a": {"b": {}}}`` is ``("a", "b")``; the innermost of ``[[a]]`` is a list."""
    path: list[str] = []
    inner: object = document
    while isinstance(inner, dict) and inner:
        name, inner = next(iter(inner.items()))
        path.append(name)
    return tuple(path)


def _paths(document: dict[str, Any]) -> Iterator[Key]:
    for name, value in document.items():
        yield (name,)
        if isinstance(value, dict):
            for path in _paths(value):
                yield (name, *path)
