"""The directory of reports that `evaluate` writes."""

import json
from dataclasses import asdict
from pathlib import Path

from pipelines.lib.challengers import model_card
from pipelines.lib.challengers.evaluation import Evaluation, Unscored, evidence_of
from pipelines.lib.core import contract
from pipelines.lib.core.atomic import replacing
from pipelines.lib.models.golden import Golden


def write(report: Path, evaluation: Evaluation | Unscored, golden: Golden | None) -> None:
    """Write the directory `report`: metrics and plots for DVC, contracts for later stages, the page for people."""
    shown: dict[str, object] = {"metrics": {}, "calibration": [], "roc": [], "report": {"note": evaluation.note}}
    if isinstance(evaluation, Evaluation):
        sample = {f"training_{name}": number for name, number in asdict(evaluation.trained_on).items() if number is not None}
        searched = evaluation.search.metrics if evaluation.search else {}
        shown |= {"metrics": asdict(evaluation.metrics) | sample | searched, "calibration": evaluation.calibration, "roc": evaluation.roc}
    with replacing(report) as temporary:
        temporary.mkdir()
        for name, content in shown.items():
            (temporary / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        (temporary / "evaluation.json").write_text(contract.to_json(evaluation), encoding="utf-8")
        (temporary / "comparison.json").write_text(evidence_of(evaluation), encoding="utf-8")
        (temporary / "report.html").write_text(model_card.render(evaluation), encoding="utf-8")
        if golden:
            (temporary / "golden.json").write_text(golden.to_json(), encoding="utf-8")
