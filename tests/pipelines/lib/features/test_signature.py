"""A features file says which features it holds."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.features.signature import KEY, Signature, signature_of_features


def test_there_and_back(tmp_path: Path) -> None:
    signature = Signature(("b", "a"), "0" * 64)
    table = pa.table({"b": [1.0], "a": [2.0]}).replace_schema_metadata({KEY: signature.to_json()})
    pq.write_table(table, tmp_path / "f.parquet")
    assert signature_of_features(tmp_path / "f.parquet") == signature


def test_missing_torn_and_mute_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        signature_of_features(tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "mute.parquet")
    with pytest.raises(DataError, match="says nothing about its features"):
        signature_of_features(tmp_path / "mute.parquet")
    whole = (tmp_path / "mute.parquet").read_bytes()
    (tmp_path / "torn.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        signature_of_features(tmp_path / "torn.parquet")
