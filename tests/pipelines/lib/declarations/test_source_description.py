"""Sources as `init` sees them: files here and on S3, Delta tables, and those that it refuses with the line to write."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import write_deltalake

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import find
from pipelines.lib.declarations.draft import Wishes
from pipelines.lib.declarations.source_description import describe_source
from pipelines.lib.tables.engine import UTC, connect
from pipelines.use_case.check import check
from pipelines.use_case.derive import derive
from pipelines.use_case.init import init
from tests import rides

LABEL = Wishes(label="minutes_late >= 10", label_name="late", delay_days=2)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository in which nobody has declared the rides."""
    rides.repository(tmp_path, name="others")
    monkeypatch.chdir(tmp_path)


def initialised(source: str) -> dict[str, Any]:
    """Write, derive and check the use case of `source`; return its section ``source``."""
    init(Path(), "rides", source, LABEL)
    declared = yaml.safe_load(Path("use_cases/rides/params.yaml").read_text(encoding="utf-8"))
    derive(find("rides", Path()), rides.TODAY)
    assert [str(fault) for fault in check(Path(), ["rides"])] == []
    return dict(declared["dataset"]["source"])


def described(given: str) -> dict[str, Any]:
    with connect(UTC) as (connection, scratch):
        return describe_source(connection, given, scratch)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("path", ["rides/2024.parquet", "rides", "rides/*.parquet"])
def test_parquet_on_s3_becomes_a_use_case_without_a_fault(s3_store: tuple[Any, str], path: str) -> None:
    files, bucket = s3_store
    files.put(str(rides.write(Path("rides.parquet"), rides.rides())), f"{bucket}/rides/2024.parquet")
    assert initialised(f"s3://{bucket}/{path}") == {"kind": "parquet", "path": f"s3://{bucket}/{path}"}


@pytest.mark.slow
@pytest.mark.integration
def test_a_csv_on_s3_gets_its_dialect_and_check_compares_it(s3_store: tuple[Any, str]) -> None:
    files, bucket = s3_store
    query = f"SELECT * REPLACE (strftime(started_at, '%d.%m.%Y %H:%M') AS started_at) FROM ({rides.rides()})"
    duckdb.sql(f"COPY ({query}) TO 'rides.csv' (FORMAT csv, HEADER, DELIMITER ';')")
    files.put("rides.csv", f"{bucket}/rides/2024.csv")
    source = {"kind": "csv", "path": f"s3://{bucket}/rides", "delimiter": ";", "timestamp_format": "%d.%m.%Y %H:%M"}
    assert initialised(f"s3://{bucket}/rides") == source
    path = Path("use_cases/rides/params.yaml")
    path.write_text(path.read_text(encoding="utf-8").replace("delimiter: ;, ", ""), encoding="utf-8")
    said = f"is ',', but s3://{bucket}/rides/2024.csv separates its fields by ';'; write delimiter: \";\""
    assert any(said in str(fault) for fault in check(Path(), ["rides"]))


@pytest.mark.integration
def test_a_delta_table_on_s3_is_seen_as_one(s3_store: tuple[Any, str]) -> None:
    _, bucket = s3_store
    write_deltalake(f"s3://{bucket}/rides", pq.read_table(rides.write(Path("rides.parquet"), rides.rides())))
    assert initialised(f"s3://{bucket}/rides") == {"kind": "delta", "path": f"s3://{bucket}/rides"}


@pytest.mark.integration
def test_a_folder_on_s3_with_files_of_two_kinds_is_refused(s3_store: tuple[Any, str]) -> None:
    files, bucket = s3_store
    files.pipe(f"{bucket}/rides/a.csv", b"a\n1\n")
    files.pipe(f"{bucket}/rides/b.parquet", b"PAR1")
    with pytest.raises(ConfigError, match="with parquet and csv files; name files of one kind"):
        described(f"s3://{bucket}/rides")
    with pytest.raises(ConfigError, match="with no Parquet or CSV files"):
        described(f"s3://{bucket}/nothing")


@pytest.mark.costly
def test_a_delta_table_becomes_a_use_case_without_a_fault() -> None:
    write_deltalake("rides", pq.read_table(rides.write(Path("rides.parquet"), rides.rides())))
    assert initialised("rides") == {"kind": "delta", "path": "rides"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://example.org/rides.csv", "Download the file, for example with curl --output var/table.csv, and name it: --source var/table.csv"),
        ("postgresql+psycopg://night:secret@db/shop", 'source: {kind: sql, url: "postgresql+psycopg://USER:${PASSWORD}@HOST/DATABASE", table: SCHEMA.TABLE}'),
        ("sqlite:///shop.db", 'url: "sqlite://'),
        ("file:///data/my%20rides.csv", "write the path alone: --source '/data/my rides.csv'"),
    ],
)  # fmt: skip
def test_a_source_that_is_not_looked_at_is_refused_with_the_line_to_write(source: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        init(Path(), "rides", source, LABEL)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
