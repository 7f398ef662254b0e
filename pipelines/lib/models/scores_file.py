"""The file of a night's scores: how it is written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def scores_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a writer of the scores file `path`, whose columns are those of `schema`. It is a context manager."""
    # Dictionaries pay for strings only: for floats they double the time to write and the size.
    strings = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=strings, write_page_checksum=True)
