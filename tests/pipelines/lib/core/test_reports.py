"""Reading back what a gate has said: only a whole report, of this gate, on this night, that passed, counts."""

import json
from pathlib import Path

import pytest

from pipelines.lib.core.errors import DataError, GateFailed
from pipelines.lib.core.reports import VERDICT, require_passed, write_verdict

REPORT = {"gate": "validate_scores", "partition": "2013-04-01", "passed": True, "rows": 7}


def _written(directory: Path, content: str) -> Path:
    (directory / VERDICT).write_text(content, encoding="utf-8")
    return directory / VERDICT


def test_a_passed_gate_tells_its_rows(tmp_path: Path) -> None:
    write_verdict(tmp_path, "validate_scores", "2013-04-01", 7, passed=True)
    assert require_passed(tmp_path / VERDICT, "validate_scores", "2013-04-01") == 7


def test_a_failed_gate_stops(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match=r"did not pass 2013-04-01; read .*report\.html"):
        require_passed(_written(tmp_path, json.dumps(REPORT | {"passed": False})), "validate_scores", "2013-04-01")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", json.dumps({**REPORT, "rows": None}), '{"gate": "validate_scores"}'])
def test_a_torn_verdict_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="is not a verdict of the gate validate_scores"):
        require_passed(_written(tmp_path, content), "validate_scores", "2013-04-01")


@pytest.mark.parametrize(("gate", "partition"), [("validate_scores", "2013-04-02"), ("validate_features", "2013-04-01")])
def test_the_verdict_of_another_gate_or_night_does_not_count(tmp_path: Path, gate: str, partition: str) -> None:
    with pytest.raises(DataError, match="is the verdict of validate_scores on 2013-04-01, expected that"):
        require_passed(_written(tmp_path, json.dumps(REPORT)), gate, partition)
