"""Reading back what a gate has said: only a whole report, of this gate, on this night, that passed, counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.errors import DataError, GateFailed
from pipelines.lib.verdict import read_decision, require_allowed, require_passed

REPORT = {"gate": "validate_scores", "partition": "2013-04-01", "passed": True, "rows": 7, "expectations": []}


def _written(directory: Path, content: str) -> Path:
    (directory / "report.json").write_text(content, encoding="utf-8")
    return directory


def test_a_passed_gate_tells_its_rows(tmp_path: Path) -> None:
    assert require_passed(_written(tmp_path, json.dumps(REPORT)), "validate_scores", "2013-04-01") == 7


def test_a_failed_gate_stops(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match=r"did not pass 2013-04-01; read .*report\.html"):
        require_passed(_written(tmp_path, json.dumps(REPORT | {"passed": False})), "validate_scores", "2013-04-01")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", json.dumps({**REPORT, "rows": None}), '{"gate": "validate_scores"}'])
def test_a_torn_report_is_no_report(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="is no report of the gate validate_scores"):
        require_passed(_written(tmp_path, content), "validate_scores", "2013-04-01")


@pytest.mark.parametrize(("gate", "partition"), [("validate_scores", "2013-04-02"), ("validate_features", "2013-04-01")])
def test_the_report_of_another_gate_or_night_does_not_count(tmp_path: Path, gate: str, partition: str) -> None:
    with pytest.raises(DataError, match="is the report of validate_scores on 2013-04-01, wanted is"):
        require_passed(_written(tmp_path, json.dumps(REPORT)), gate, partition)


def _decided(path: Path, verdict: str) -> dict[str, Any]:
    path.write_text(json.dumps({"verdict": verdict, "reasons": ["the AUC is lower"], "table": ""}), encoding="utf-8")
    return read_decision(path)


@pytest.mark.parametrize(("verdict", "approver"), [("promote", None), ("promote", "ada"), ("ask", "ada")])
def test_what_is_promoted_is_clear_or_approved(tmp_path: Path, verdict: str, approver: str | None) -> None:
    require_allowed(_decided(tmp_path / "decision.json", verdict), approver)


@pytest.mark.parametrize(
    ("verdict", "approver", "told"),
    [("refuse", None, "it was refused"), ("refuse", "ada", "it was refused"), ("ask", None, "nobody"), ("ask", "", "nobody")],
)
def test_nobody_promotes_past_the_evidence(tmp_path: Path, verdict: str, approver: str | None, told: str) -> None:
    with pytest.raises(GateFailed, match=rf"{told}.*the AUC is lower"):
        require_allowed(_decided(tmp_path / "decision.json", verdict), approver)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '{"verdict": "yes", "reasons": []}', '{"verdict": "promote", "reasons": [1]}', '{"verdict": "ask"}'],
)
def test_a_torn_decision_is_no_decision(tmp_path: Path, content: str) -> None:
    path = tmp_path / "decision.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"decision\.json .* run decide"):
        read_decision(path)


def test_without_a_decision_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no decision"):
        read_decision(tmp_path / "decision.json")
