"""Doubts that the text of a CSV leaves: days and months that could change places, commas that may group thousands, and words that may be values."""

from collections.abc import Iterator, Mapping

import duckdb

from pipelines.lib.declarations.csv_dialect import grouped_thousands, other_reading
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.dataset import Source
from pipelines.lib.tables.engine import name, text

_GROUPED_POINT = "[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+(,[0-9]+)?"
_GROUPED_COMMA = "[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+([.][0-9]+)?"


def csv_doubts(connection: duckdb.DuckDBPyConnection, scanned: Scan, source: Source, kinds: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each guess in the dialect of `source`, a CSV whose columns have the types `kinds`, that would change values without a word."""
    for column, kind in kinds.items():
        form = {"date": source.date_format, "timestamp": source.timestamp_format}.get(kind)
        if form is not None and (other := other_reading(connection, scanned.relation, column, form)):
            yield (
                f"{column} can be read as {form} and as {other}, which are other dates. {form} is a guess, by which they are closest together: "
                f"correct {kind}_format in the source if it is wrong."
            )
        if kind == "string":
            yield from _grouped(connection, scanned.relation, column)
        if kind == "float" and source.decimal == "." and (example := _points(connection, scanned.relation, column)):
            yield f"{column} holds {example!r} and is read with a decimal point. If the point groups thousands, deliver the numbers without it."


def words_for_missing(source: Source) -> Iterator[str]:
    """Yield the words that are read as missing, which some column may mean as a value."""
    if words := [word for word in source.nulls if word]:
        yield f"Read as missing in every column: {', '.join(words)}. If a column means it as a value (NA is Namibia), take it out of nulls in the source."


def _grouped(connection: duckdb.DuckDBPyConnection, relation: str, column: str) -> Iterator[str]:
    """Yield why a text `column` is not a number: its thousands are grouped."""
    if (example := grouped_thousands(connection, relation, column)) is not None:
        yield (
            f'{column} is read as text: {example!r} has a decimal comma, or a comma that groups thousands. Write decimal: "," in the source for the '
            "first; for the other, deliver the numbers without it."
        )
        return
    value = name(column)
    of_number = " OR ".join(f"regexp_full_match({value}, {text(form)})" for form in (_GROUPED_POINT, _GROUPED_COMMA))
    [(example, others)] = connection.sql(
        f"SELECT min({value}) FILTER ({of_number}), count(*) FILTER (NOT ({of_number}) AND NOT regexp_full_match({value}, '[+-]?[0-9]+([.,][0-9]+)?')) "
        f"FROM {relation}"
    ).fetchall()
    if example is not None and not others:
        yield f"{column} is read as text, since the thousands of {example!r} are grouped: deliver the numbers without a sign between their thousands."


def _points(connection: duckdb.DuckDBPyConnection, relation: str, column: str) -> str | None:
    """Return a value such as 1.234 of a `column` that has whole numbers below a thousand as well, and nothing else: its points may group thousands."""
    value = name(column)
    grouped, small = (
        f"regexp_full_match({value}, '[+-]?[1-9][0-9]{{0,2}}[.][0-9]{{3}}')",
        f"regexp_full_match({value}, '[+-]?[0-9]{{1,3}}')",
    )
    [(example, whole, others)] = connection.sql(
        f"SELECT min({value}) FILTER ({grouped}), count(*) FILTER ({small}), count(*) FILTER (NOT {grouped} AND NOT {small}) FROM {relation}"
    ).fetchall()
    return str(example) if example is not None and whole and not others else None
