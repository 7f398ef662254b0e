"""Ways in which a delivered night can be wrong, or only look wrong, and how each must end.

A mutation takes a `Delivery` (columns of Python values, in the order of the file) or the bytes of its file, and a seeded random generator. It says
how the night must end:

* ``refused``: no row gets through, and the message names `names` (a column or the file);
* ``good``: the night passes, and its rows are `Delivery.wanted`;
* ``never wrong``: either of the two. What cannot be told from a good file may pass, but only with the values that were delivered.
"""

import csv
import datetime as dt
import gzip
import io
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.datasets import orders

Format = Literal["csv", "csv.gz", "parquet", "db"]
End = Literal["refused", "good", "never wrong"]

FIRST, NIGHT, DAYS, PER_DAY = dt.date(2024, 3, 1), dt.date(2024, 3, 22), 24, 40
TEXT: tuple[Format, ...] = ("csv",)  # what is in a compressed file is read the same
ALL: tuple[Format, ...] = ("csv", "parquet", "db")
FILES: tuple[Format, ...] = ("csv", "csv.gz", "parquet")


@dataclass
class Delivery:
    """The columns of a delivered file; `night` are the positions of the rows of `NIGHT`."""

    columns: dict[str, list[Any]]
    night: list[int]

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def keep(self, positions: list[int]) -> None:
        """Leave only the rows at `positions`, in that order."""
        self.columns = {name: [values[position] for position in positions] for name, values in self.columns.items()}

    def wanted(self) -> list[tuple[Any, ...]]:
        """Return what the night must hold: its declared columns, without the outcome, sorted by key."""
        names = ("order_id", "placed_at", "customer", "product", "channel", "amount", "items", "gift")
        rows = [tuple(self.columns[name][row] for name in names) for row in range(self.rows)]
        return sorted((row for row in rows if row[1].date() == NIGHT), key=lambda row: row[0])


@dataclass(frozen=True)
class Mutation:
    """`change` alters the rows before they are written, `damage` the bytes of the file afterwards; `times` is how many
    different ones one round tries.
    """

    name: str
    end: End
    names: tuple[str, ...] = ()
    formats: tuple[Format, ...] = ALL
    change: Callable[[Delivery, np.random.Generator], None] | None = None
    damage: Callable[[bytes, np.random.Generator], bytes] | None = None
    retype: Callable[[pa.Table], pa.Table] | None = None
    times: int = 1


def delivery() -> Delivery:
    """Return the unchanged file: `DAYS` days of about `PER_DAY` orders, with two days after `NIGHT`."""
    columns = orders.orders(days=DAYS, per_day=PER_DAY, first=FIRST).to_pydict()
    return Delivery(columns, [row for row, moment in enumerate(columns["placed_at"]) if moment.date() == NIGHT])


def write(delivered: Delivery, mutation: Mutation, kind: Format, path: Path, random: np.random.Generator) -> None:
    """Write `delivered` to `path` as `kind`, with the damage of `mutation`."""
    if kind == "db":
        _write_database(delivered, path)
        return
    content = _parquet(delivered, mutation) if kind == "parquet" else _csv(delivered)
    if kind == "csv.gz" and not mutation.name.startswith("text: "):
        content = gzip.compress(content, mtime=0)
    if mutation.damage is not None:
        content = mutation.damage(content, random)
    if kind == "csv.gz" and mutation.name.startswith("text: "):  # the damage is in the text, and the compression is whole
        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)


def _csv(delivered: Delivery) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(delivered.columns)
    for row in zip(*delivered.columns.values(), strict=True):
        writer.writerow(["" if value is None else str(value).lower() if isinstance(value, bool) else value for value in row])
    return buffer.getvalue().encode()


def _parquet(delivered: Delivery, mutation: Mutation) -> bytes:
    table = pa.table({name: _array(values) for name, values in delivered.columns.items()})
    if mutation.retype is not None:
        table = mutation.retype(table)
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue()


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values])


def _write_database(delivered: Delivery, path: Path) -> None:
    names = ", ".join(f'"{name}"' for name in delivered.columns)
    rows = [
        tuple(str(value) if isinstance(value, dt.datetime) or (isinstance(value, int) and abs(value) >= 2**63) else value for value in row)
        for row in zip(*delivered.columns.values(), strict=True)
    ]
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE orders ({names})")
        database.executemany(f"INSERT INTO orders VALUES ({', '.join('?' * len(delivered.columns))})", rows)
    database.close()


def _put(column: str, *choices: Any, share: float = 0.0) -> Callable[[Delivery, np.random.Generator], None]:
    """Return one of `choices` into `column` of one row of the night, or of a `share` of its rows."""

    def change(delivered: Delivery, random: np.random.Generator) -> None:
        rows = random.permutation(delivered.night)[: max(1, round(share * len(delivered.night)))]
        value = choices[random.integers(len(choices))]
        delivered.columns[column] = list(delivered.columns[column])
        for row in rows:
            delivered.columns[column][row] = value

    return change


def _redate(year: int) -> Callable[[Delivery, np.random.Generator], None]:
    """Another year for nine of twenty rows of the night."""

    def change(delivered: Delivery, random: np.random.Generator) -> None:
        moments = delivered.columns["placed_at"]
        for row in random.permutation(delivered.night)[: round(0.45 * len(delivered.night))]:
            moments[row] = moments[row].replace(year=year)

    return change


def _repeat(delivered: Delivery, random: np.random.Generator) -> None:
    again = [int(row) for row in random.permutation(delivered.night)[: random.integers(1, 5)]]
    delivered.keep([*range(delivered.rows), *again])


def _shuffle(delivered: Delivery, random: np.random.Generator) -> None:
    delivered.keep([int(row) for row in random.permutation(delivered.rows)])


def _reorder(delivered: Delivery, random: np.random.Generator) -> None:
    delivered.columns = {name: delivered.columns[name] for name in random.permutation(list(delivered.columns))}


def _thin(share: float) -> Callable[[Delivery, np.random.Generator], None]:
    def change(delivered: Delivery, random: np.random.Generator) -> None:
        lost = set(random.permutation(delivered.night)[: round((1 - share) * len(delivered.night))].tolist())
        delivered.keep([row for row in range(delivered.rows) if row not in lost])

    return change


def _drop(column: str) -> Callable[[Delivery, np.random.Generator], None]:
    return lambda delivered, _: delivered.columns.__delitem__(column)


def _rename(column: str, name: str) -> Callable[[Delivery, np.random.Generator], None]:
    def change(delivered: Delivery, _: np.random.Generator) -> None:
        delivered.columns = {name if found == column else found: values for found, values in delivered.columns.items()}

    return change


def _swap(one: str, other: str) -> Callable[[Delivery, np.random.Generator], None]:
    def change(delivered: Delivery, _: np.random.Generator) -> None:
        columns = delivered.columns
        columns[one], columns[other] = columns[other], columns[one]

    return change


def _add(column: str) -> Callable[[Delivery, np.random.Generator], None]:
    def change(delivered: Delivery, random: np.random.Generator) -> None:
        delivered.columns[column] = random.integers(0, 9, delivered.rows).tolist()

    return change


def _cut(content: bytes, random: np.random.Generator) -> bytes:
    """Return the file ends early, not at a line end: what is cut there looks like a shorter file, and only the row count can tell."""
    end = int(random.integers(1, len(content) - 1))
    while content[end - 1 : end] == b"\n":
        end -= 1
    return content[:end]


def _flip(content: bytes, random: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    damaged[int(random.integers(20, len(content) - 8))] ^= 1 << int(random.integers(8))
    return bytes(damaged)


def _recode(encoding: str) -> Callable[[bytes, np.random.Generator], bytes]:
    return lambda content, _: content.decode().replace("c1", "çü", 1).encode(encoding)


def _become(content: bytes) -> Callable[[bytes, np.random.Generator], bytes]:
    return lambda _, __: content


def _cast(column: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.schema.get_field_index(column), column, table[column].cast(kind))


def _twice(table: pa.Table) -> pa.Table:
    return table.append_column("amount", table["amount"])


def _nanoseconds(table: pa.Table) -> pa.Table:
    moments = np.array(table["placed_at"].to_pylist(), "datetime64[ns]") + np.timedelta64(1, "ns")
    return table.set_column(table.schema.get_field_index("placed_at"), "placed_at", pa.array(moments))


FILE = ("orders.",)
"""Every delivered file is called so."""

MUTATIONS = [
    Mutation("as it is", "good"),
    # Values of another type, and conversions that would lose something.
    Mutation("a word for a number", "refused", ("items",), change=_put("items", "x", "1,5", "--", "1 2")),
    Mutation("part of an item", "refused", ("items",), change=_put("items", 2.5, 0.1)),
    Mutation("more than 64 bits", "refused", ("items",), change=_put("items", 2**63, -(2**70), 10**30)),
    Mutation("more than a float holds", "refused", ("amount",), TEXT, change=_put("amount", "1e400", "-1e999")),
    Mutation("an infinite amount", "refused", ("amount",), change=_put("amount", float("inf"))),
    Mutation("neither yes nor no", "refused", ("gift",), TEXT, change=_put("gift", "2", "7", "0.5", "maybe")),
    Mutation("no moment", "refused", ("placed_at",), change=_put("placed_at", "2024-13-01 00:00:00", "noon", "2024-02-30", "infinity")),
    Mutation("two digits of a year", "refused", ("placed_at",), TEXT, change=_put("placed_at", "22/03/24", "24-03-22 10:00:00")),
    Mutation("an offset that no zone has", "refused", ("placed_at",), TEXT, change=_put("placed_at", "2024-03-22 10:00:00+99:0")),
    # Values that are none of what is declared.
    Mutation("no key", "refused", ("order_id",), change=_put("order_id", None)),
    Mutation("a column that is empty", "refused", ("customer",), change=_put("customer", None, share=1)),
    Mutation("more missing than declared", "refused", ("amount",), change=_put("amount", None, share=0.6)),
    Mutation("no time", "refused", ("placed_at",), change=_put("placed_at", None)),
    Mutation("below the minimum", "refused", ("items",), change=_put("items", 0, -3)),
    Mutation("above the maximum", "refused", ("items",), change=_put("items", 21, 2**40)),
    Mutation("values that nobody knows", "refused", ("channel",), change=_put("channel", "fax", share=0.5)),
    Mutation("negative amounts", "refused", ("amount",), change=_put("amount", -0.01)),
    Mutation("years that nobody lives in", "refused", ("placed_at", "row_count"), change=_redate(2204)),
    Mutation("years long gone", "refused", ("placed_at", "row_count"), change=_redate(204)),
    # Rows.
    Mutation("rows twice", "refused", ("order_id",), change=_repeat),
    Mutation("most of the night lost", "refused", ("rows", "row_count"), change=_thin(0.3)),
    Mutation("the whole night lost", "refused", ("rows", "row_count"), change=_thin(0)),
    Mutation("a few rows fewer", "good", change=_thin(0.9)),
    Mutation("shuffled rows", "good", change=_shuffle),
    # Columns.
    Mutation("a column gone", "refused", ("items",), change=_drop("items")),
    Mutation("a column in capitals", "refused", ("amount",), change=_rename("amount", "AMOUNT")),
    Mutation("an additional column", "good", change=_add("colour")),
    Mutation("columns in another order", "good", change=_reorder),
    Mutation("two columns changed over", "refused", ("items", "channel"), change=_swap("items", "channel")),
    # Strings.
    Mutation("commas, quotes and line ends", "good", change=_put("customer", 'a, "b"\nc', '"', ",", "a\nb")),
    Mutation("other alphabets", "good", change=_put("customer", "Ωμέγα", "顧客", "e\u0301", "🙂")),
    Mutation("a word of NUL", "never wrong", FILE, change=_put("customer", "a\0b")),
    Mutation("ten megabytes in a cell", "never wrong", ("customer", *FILE), change=_put("customer", "x" * 10_000_000)),
    Mutation("spaces around a value", "never wrong", ("gift",), TEXT, damage=lambda content, _: content.replace(b",true,", b", true ,", 1)),
    # Files.
    Mutation("cut", "refused", FILE, ("csv", "parquet"), damage=_cut, times=5),
    Mutation("cut and compressed", "refused", FILE, ("csv.gz",), damage=_cut, times=5),
    Mutation("a flipped bit", "never wrong", FILE, ("csv.gz", "parquet"), damage=_flip, times=10),
    Mutation("an empty file", "refused", FILE, FILES, damage=_become(b"")),
    Mutation("a page of HTML", "refused", FILE, FILES, damage=_become(b"<html><body>503 Service Unavailable</body></html>\n")),
    Mutation("a header alone", "refused", ("rows", "row_count", "placed_at"), TEXT, change=lambda delivered, _: delivered.keep([])),
    Mutation("text: Latin-1", "refused", FILE, TEXT, damage=_recode("latin-1")),
    Mutation("text: UTF-16", "refused", FILE, TEXT, damage=_recode("utf-16")),
    Mutation("text: a byte order mark", "good", (), ("csv", "csv.gz"), damage=lambda content, _: b"\xef\xbb\xbf" + content),
    Mutation("text: line ends of Windows", "good", (), TEXT, damage=lambda content, _: content.replace(b"\n", b"\r\n")),
    Mutation("text: a line without an end", "refused", FILE, ("csv", "csv.gz"), damage=_become(b"x" * 40_000_000)),
    Mutation("text: a column twice", "refused", ("amount",), TEXT, damage=lambda content, _: content.replace(b"customer", b"amount", 1)),
    # Types of Parquet.
    Mutation("a narrow integer", "good", (), ("parquet",), retype=_cast("items", pa.int16())),
    Mutation("large strings", "good", (), ("parquet",), retype=_cast("customer", pa.large_string())),
    Mutation("strings by number", "good", (), ("parquet",), retype=_cast("product", pa.dictionary(pa.int32(), pa.string()))),
    Mutation("whole numbers as floats", "good", (), ("parquet",), retype=_cast("items", pa.float64())),
    Mutation("a duration for a number", "refused", ("items",), ("parquet",), retype=_cast("items", pa.duration("us"))),
    Mutation("nanoseconds", "refused", ("placed_at",), ("parquet",), retype=_nanoseconds),
    Mutation("a column of Parquet twice", "refused", ("amount",), ("parquet",), retype=_twice),
]
