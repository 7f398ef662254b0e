"""The benchmark of use cases gives every figure that it has a target for."""

import pytest

from benchmarks.use_cases import TARGETS, declarations, ingest, parsing, training

FIGURES_OF_TRAINING = {f"{stage}_s" for stage in training.STAGES}


@pytest.mark.slow
def test_a_table_of_any_size_is_declared_from_parquet_and_from_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "ROWS", 20_000)
    figures = declarations.main()
    assert figures.keys() >= declarations.TARGETS.keys() == {"init_s", "check_s", "init_csv_s", "check_csv_s"}
    assert all(value > 0 for value in figures.values())


def test_each_target_is_one_of_a_part() -> None:
    assert TARGETS.keys() == ingest.TARGETS.keys() | parsing.TARGETS.keys() | declarations.TARGETS.keys() | training.TARGETS.keys()
    assert training.TARGETS.keys() <= FIGURES_OF_TRAINING
