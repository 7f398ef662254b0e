"""Doubts that the text of a CSV leaves: days and months that could change places, commas that may group thousands, and words that may be values."""

from collections.abc import Iterator, Mapping

import duckdb

from pipelines.lib.declarations.csv_dialect import other_reading
from pipelines.lib.declarations.decimals import grouped_thousands
from pipelines.lib.declarations.text_shapes import examples
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.dataset import Source

_GROUPED_POINT = "[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+(,[0-9]+)?"
_GROUPED_COMMA = "[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+([.][0-9]+)?"

_POINTS = "[+-]?[1-9][0-9]{0,2}[.][0-9]{3}"
"""A number such as 1.234, whose point may group thousands if the column has whole numbers below a thousand as well."""

_SMALL = "[+-]?[0-9]{1,3}"


def csv_doubts(connection: duckdb.DuckDBPyConnection, scanned: Scan, source: Source, kinds: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each guess in the dialect of `source`, a CSV whose columns have the types `kinds`, that would change values without a word."""
    for column, kind in kinds.items():
        form = {"date": source.date_format, "timestamp": source.timestamp_format}.get(kind)
        if form is not None and (other := other_reading(connection, scanned.relation, column, form)):
            yield (
                f"{column} can be read as {form} and as {other}, which are other dates. {form} is a guess, by which they are closest together: "
                f"correct {kind}_format in the source if it is wrong."
            )
    yield from _grouped(connection, scanned.relation, [column for column, kind in kinds.items() if kind == "string"])
    if source.decimal == ".":
        floats = [column for column, kind in kinds.items() if kind == "float"]
        for column, example in examples(connection, scanned.relation, floats, _POINTS, _SMALL, both=True).items():
            yield f"{column} holds {example!r} and is read with a decimal point. If the point groups thousands, deliver the numbers without it."


def words_for_missing(source: Source) -> Iterator[str]:
    """Yield the words that are read as missing, which some column may mean as a value."""
    if words := [word for word in source.nulls if word]:
        yield f"Read as missing in every column: {', '.join(words)}. If a column means it as a value (NA is Namibia), take it out of nulls in the source."


def _grouped(connection: duckdb.DuckDBPyConnection, relation: str, columns: list[str]) -> Iterator[str]:
    """Yield why text `columns` are not numbers: their thousands are grouped."""
    unclear = grouped_thousands(connection, relation, columns)
    for column, example in unclear.items():
        yield (
            f'{column} is read as text: {example!r} has a decimal comma, or a comma that groups thousands. Write decimal: "," in the source for the '
            "first; for the other, deliver the numbers without it."
        )
    clear = [column for column in columns if column not in unclear]
    shape = f"({_GROUPED_POINT})|({_GROUPED_COMMA})"
    for column, example in examples(connection, relation, clear, shape, "[+-]?[0-9]+([.,][0-9]+)?").items():
        yield f"{column} is read as text, since the thousands of {example!r} are grouped: deliver the numbers without a sign between their thousands."
