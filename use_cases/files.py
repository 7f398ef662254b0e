"""How a worked example writes its tables: whole files that are the same bytes each time, and only those that are missing."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

EXAMPLES = Path(__file__).resolve().parents[1] / "var" / "examples"
"""Git ignores this folder. A ``params.yaml`` names it relative to the repository: ``var/examples/fraud/transactions/*.parquet``."""


File = tuple[Path, Callable[[], pa.Table]]
"""Where a table is kept, and the function that makes it."""


def write_missing(files: Iterable[File], *, again: bool) -> str:
    """Write the table of each file that does not exist yet, or with `again` of all of them. Return a sentence that says what was made."""
    made = kept = rows = 0
    for path, table in files:
        if path.exists() and not again:
            kept += 1
            continue
        content = table()
        write(content, path)
        made, rows = made + 1, rows + content.num_rows
    return f"{made:,} files with {rows:,} rows written, {kept:,} kept as they were"


def write(table: pa.Table, path: Path) -> None:
    """Write `table` to `path`, a .parquet with page checksums or a .csv. The file gets its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    if path.suffix == ".csv":
        pc.write_csv(table, unfinished, pc.WriteOptions(quoting_style="needed"))
    else:
        pq.write_table(table, unfinished, compression="zstd", write_page_checksum=True)
    os.replace(unfinished, path)
