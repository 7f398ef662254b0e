"""The decimal sign of a CSV as its numbers show it: a point or a comma may also group thousands, and a wrong guess gives another number."""

import re
from collections.abc import Iterable, Iterator

import duckdb

from pipelines.lib.declarations.faults import Finding
from pipelines.lib.declarations.text_shapes import examples
from pipelines.lib.tables.dataset import Source

_COMMA = r"[+-]?[0-9]{1,3}([.]?[0-9]{3})*,[0-9]+"

_GROUPED = "[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+"
"""A number whose commas may group its thousands: 1,234 is one thousand and more, or one and a quarter."""

_OF_THREE = "[+-]?[1-9][0-9]{0,2}[.][0-9]{3}"

_POINT = "[+-]?[0-9]*[.][0-9]+"
_GROUPED_BY_POINTS = "[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+(,[0-9]+)?"
_GROUPED_BY_COMMAS = "[+-]?[1-9][0-9]{0,2}((,[0-9]{3})+[.][0-9]+|(,[0-9]{3}){2,})"

_NO_DECIMAL_COMMA = f"{_POINT}|{_GROUPED_BY_POINTS}|{_GROUPED_BY_COMMAS}"
"""A number that has another decimal sign than the comma, or a sign between its thousands."""


def decimal_faults(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Iterable[str], source: Source, where: str
) -> Iterator[Finding]:
    """Yield the text `columns` of numbers that are written otherwise than `decimal` of the `source` at the key `where` says."""
    asked = list(columns)
    if source.decimal == ".":
        for column, example in examples(connection, relation, asked, _COMMA, None).items():
            yield decimal_fault(column, example, where)
        return
    wrong = examples(connection, relation, asked, _NO_DECIMAL_COMMA, f"[+-]?[0-9]+|{_COMMA}")
    if not wrong:
        return
    mixed = bool(set(decimal_commas(connection, relation, asked)) - set(wrong))
    for column, example in wrong.items():
        yield Finding(f"{where}.decimal", f"is ',', but column {column!r} holds {example!r}", _remedy(example, mixed=mixed))


def _remedy(example: str, *, mixed: bool) -> str:
    """Return what to do about the number `example` in a source with a decimal comma; `mixed` if other columns have one."""
    signs = re.sub("[^.,]", "", example)
    if signs != ".":
        return f"deliver the number without the {'points' if signs[0] == '.' else 'commas'} between its thousands" + (
            ', and write decimal: "."' if signs[-1] == "." and signs[0] == "," and not mixed else ""
        )
    if mixed:
        return "deliver all numbers of the source with one decimal sign, and none between thousands"
    grouped = "; or if that point groups thousands, deliver the number without it" if re.fullmatch(_OF_THREE, example) else ""
    return f'write decimal: "."{grouped}'


def grouped_faults(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Iterable[str], undeclared: Iterable[str], where: str
) -> Iterator[Finding]:
    """Yield those `undeclared` text columns of a source with a decimal comma, at the key `where`, whose commas may all group thousands.

    One of `columns` whose comma can be nothing but a decimal comma ends the doubt for all, and so does a declared type for its own column.
    """
    commas = decimal_commas(connection, relation, columns)
    unclear = grouped_thousands(connection, relation, commas)
    if set(commas) - set(unclear):
        return
    section = where.rpartition(".")[0]
    for column in undeclared:
        if column in unclear:
            yield Finding(
                f"{where}.decimal",
                f"is ',', but the commas of column {column!r} may group thousands, as in {unclear[column]!r}",
                f"deliver the numbers without them; or if they are decimal commas, declare {section}.columns: {{{column}: {{type: float}}}}",
            )


def decimal_fault(column: str, example: str, where: str) -> Finding:
    """Return the fault of a source at the key `where` that does not declare the decimal comma of `example` in `column`."""
    remedy = 'write decimal: ","'
    if re.fullmatch(_GROUPED, example):
        remedy += "; or if that comma groups thousands, deliver the number without it"
    return Finding(f"{where}.decimal", f"is '.', but column {column!r} holds {example!r}", remedy)


def decimal_commas(connection: duckdb.DuckDBPyConnection, relation: str, columns: Iterable[str]) -> dict[str, str]:
    """Return the text `columns` of which every number could have a decimal comma, and some have, each with such a number."""
    return examples(connection, relation, columns, _COMMA, "[+-]?[0-9]+")


def grouped_thousands(connection: duckdb.DuckDBPyConnection, relation: str, columns: Iterable[str]) -> dict[str, str]:
    """Return the text `columns` of numbers whose commas may all group thousands, each with such a number."""
    return examples(connection, relation, columns, _GROUPED, "[+-]?[0-9]{1,3}")
