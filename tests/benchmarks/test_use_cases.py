"""The benchmark of use cases gives every figure that it has a target for."""

from pathlib import Path

import pytest

from benchmarks.use_cases import TARGETS, declarations, ingest, parsing, scheduler, training
from benchmarks.use_cases.opened_files import opened_files

FIGURES_OF_TRAINING = {f"{stage}_s" for stage in training.STAGES}


@pytest.mark.costly
def test_a_night_reads_no_more_files_of_a_year_than_its_lookback_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by the operating system, in a folder of 365 small files."""
    monkeypatch.setattr(ingest, "ROWS", 3)
    monkeypatch.setattr(ingest, "ROUNDS", 1)
    figures = ingest.main()
    assert figures["files"] == 365
    assert figures["ingest_files_read"] == figures["ingest_files_opened_by_date"] == figures["files_needed"] == 31
    assert figures.keys() >= ingest.TARGETS.keys()


def test_each_opening_of_a_file_is_counted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    with opened_files(tmp_path) as opened:
        for name in ("a", "b", "b"):
            (tmp_path / name).read_text()
        list(tmp_path.iterdir())
    assert opened == {"a": 1, "b": 2}


@pytest.mark.slow
def test_a_table_of_any_size_is_declared_from_parquet_and_from_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "ROWS", 20_000)
    figures = declarations.main()
    assert figures.keys() >= declarations.TARGETS.keys() == {"init_s", "check_s", "init_csv_s", "check_csv_s"}
    assert all(value > 0 for value in figures.values())


@pytest.mark.slow
@pytest.mark.integration
def test_airflow_is_watched_with_any_number_of_use_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (parsing, scheduler):
        monkeypatch.setattr(module, "COUNT", 3)
    monkeypatch.setattr(scheduler, "WATCHED_S", 1.0)
    figures = scheduler.main()
    assert figures["dags"] == 2 * 9
    assert figures.keys() >= {"scheduler_percent", "dag_processor_percent", "api_server_percent"}
    assert min(figures["list_of_dags_s"], figures["new_use_case_s"]) > 0


def test_each_target_is_one_of_a_part() -> None:
    assert TARGETS.keys() == ingest.TARGETS.keys() | parsing.TARGETS.keys() | declarations.TARGETS.keys() | training.TARGETS.keys()
    assert training.TARGETS.keys() <= FIGURES_OF_TRAINING
