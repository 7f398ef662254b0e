"""Which runs published rows name, read from files that may be damaged."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from pipelines.lib.core.errors import DataError
from pipelines.lib.storage.retention import published_runs


def test_a_flipped_bit_in_a_published_table_names_no_other_run(tmp_path: Path) -> None:
    rows = pa.table({"run_ref": ["refs/runs/nightly/one"] * 100})
    write_deltalake(tmp_path / "scores", rows)
    [file] = (tmp_path / "scores").glob("*.parquet")
    size = file.stat().st_size
    pq.write_table(rows, file, compression="none", write_page_checksum=True)
    content = bytearray(file.read_bytes())
    content[content.index(b"nightly/one") + 10] ^= 1
    log = tmp_path / "scores" / "_delta_log" / f"{0:020}.json"
    log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{len(content)}'))
    assert published_runs([str(tmp_path / "scores")]) == {"refs/runs/nightly/one"}
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"scores cannot be read to its end .*nothing was freed"):
        published_runs([str(tmp_path / "scores")])
