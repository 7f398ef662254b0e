"""Reading back a decision: only a whole one counts, and nobody promotes past the evidence."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.challengers.decision import read_decision, require_allowed
from pipelines.lib.core.errors import DataError, GateFailed


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
