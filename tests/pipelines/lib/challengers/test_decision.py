"""Reading a decision back: only a whole one is accepted, and nobody promotes past a refusal."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.challengers.decision import Decision, decision_on, require_allowed
from pipelines.lib.core.errors import DataError, GateFailed

WHOLE: dict[str, Any] = {
    "partition": "2013-06-30",
    "champion": "1",
    "challenger": "2",
    "verdict": "ask",
    "reasons": ["the AUC is lower"],
    "table": {"lead": "On 10 rows.", "columns": ["", "champion", "challenger"], "rows": [["AUC", "0.70", "0.71"]]},
    "basis": None,
}


def _decided(path: Path, verdict: str) -> Decision:
    path.write_text(json.dumps({**WHOLE, "verdict": verdict}), encoding="utf-8")
    return Decision.from_json(path)


def test_a_decision_of_before_there_was_a_basis_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "decision.json"
    path.write_text(json.dumps({name: value for name, value in WHOLE.items() if name != "basis"}), encoding="utf-8")
    assert Decision.from_json(path).basis is None


@pytest.mark.parametrize("changes", [{}, {"champion": None, "table": None}, {"reasons": []}])
def test_a_whole_decision_comes_back_byte_for_byte(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "decision.json"
    path.write_text(json.dumps({**WHOLE, **changes}, indent=2), encoding="utf-8")
    decision = Decision.from_json(path)
    assert decision.to_json() == path.read_text(encoding="utf-8")
    with pytest.raises(FrozenInstanceError):
        decision.verdict = "promote"  # type: ignore[misc]


def test_a_decision_on_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "decision.json"
    path.write_text(json.dumps(WHOLE), encoding="utf-8")
    assert decision_on("2", path).challenger == "2"
    with pytest.raises(DataError, match=r"decision\.json is the decision on version 2, but version 3 is registered; run decide again"):
        decision_on("3", path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        *(({name: ...}, rf"{name}: Field required") for name in WHOLE if name != "basis"),  # decisions of before have none
        ({"verdict": "yes"}, "verdict: Input should be 'promote', 'refuse' or 'ask'"),
        ({"reasons": "better"}, "reasons: "),
        ({"reasons": [1]}, r"reasons\.0: "),
        ({"challenger": 2}, "challenger: "),
        ({"table": ""}, "table: "),
        ({"table": {"lead": "On 10 rows."}}, r"table\.columns: Field required"),
        ({"retrain": True}, "retrain: "),
    ],
)
def test_an_incomplete_or_foreign_decision_names_the_field(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    path = tmp_path / "decision.json"
    content = {name: value for name, value in {**WHOLE, **changes}.items() if value is not ...}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=rf"decision\.json is not a whole decision \({named}.*run decide again"):
        Decision.from_json(path)


@pytest.mark.parametrize(("verdict", "approver"), [("promote", None), ("promote", "ada"), ("ask", "ada")])
def test_a_promotion_is_clear_or_approved(tmp_path: Path, verdict: str, approver: str | None) -> None:
    require_allowed(_decided(tmp_path / "decision.json", verdict), approver)


@pytest.mark.parametrize(
    ("verdict", "approver", "message"),
    [("refuse", None, "it was refused"), ("refuse", "ada", "it was refused"), ("ask", None, "nobody"), ("ask", "", "nobody")],
)
def test_nobody_promotes_past_the_evidence(tmp_path: Path, verdict: str, approver: str | None, message: str) -> None:
    with pytest.raises(GateFailed, match=rf"{message}.*the AUC is lower"):
        require_allowed(_decided(tmp_path / "decision.json", verdict), approver)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '{"verdict": "yes", "reasons": []}', '{"verdict": "promote", "reasons": [1]}', '{"verdict": "ask"}'],
)
def test_a_torn_decision_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "decision.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"decision\.json .* run decide"):
        Decision.from_json(path)


def test_a_missing_decision_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"decision\.json cannot be read .*run decide first"):
        Decision.from_json(tmp_path / "decision.json")
