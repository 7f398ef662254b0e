"""Text as Markdown that shows it: the one place where Nightshift makes Markdown of what data says.

Airflow renders a run's note and the form of an approval as Markdown (GitHub's dialect). Both quote values of other people's data, which must make no
link, picture, table or heading on a page that a person trusts. `plain` leaves ordinary text as it is, since the REST API gives it unrendered.
"""

import re
from collections.abc import Sequence

_MARKS = re.compile(r"[\\|\[\]`<*~]|(?<!\w)_+|_+(?!\w)|&(?=#|\w)|:(?=\w+:)|\^")
"""Characters that mark up text wherever they are; underscores between letters do not."""

_FIRST = re.compile(r"^(>|#(?=#*(?:\s|$))|[+-](?=\s|$)|[-=](?=[-=\s]*$)|\d{1,9}(?=[.)](?:\s|$)))")
"""The beginnings of a line that make it a heading, a quotation, a rule or a list; a number such as -0.7 does not."""

_ADDRESS = re.compile(r"((?:https?|ftp|mailto|xmpp):|www(?=\.)|@(?=[\w.-]*\.\w))", re.IGNORECASE)
"""Text that Markdown turns into a link by itself."""

_WORD_JOINER = "\u2060"


def plain(text: object) -> str:
    """Return `text` in one line, as Markdown that shows it and does nothing else; an address in it is not a link."""
    line = " ".join(str(text).split())
    shown = _ADDRESS.sub(f"\\1{_WORD_JOINER}", _MARKS.sub(_escape, line))
    return _FIRST.sub(lambda first: f"{_WORD_JOINER}{first[0]}" if first[0].isdigit() else f"\\{first[0]}", shown)


def _escape(character: re.Match[str]) -> str:
    return "".join(f"\\{mark}" for mark in character[0])


def bullets(lines: Sequence[object]) -> str:
    """Return a list of `lines`, each in `plain` text."""
    return "\n".join(f"* {plain(line)}" for line in lines)


def table(columns: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of `rows` under `columns`, all in `plain` text: the first column to the left, the others to the right."""
    cells = [[plain(cell) for cell in row] for row in (columns, *rows)]
    cells.insert(1, ["---", *["---:"] * (len(columns) - 1)])
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def link(label: str, url: str) -> str:
    """Return a link to `url`, which is one of Nightshift's own, under `label`, which no data has made."""
    return f"[{label}](<{url}>)"
