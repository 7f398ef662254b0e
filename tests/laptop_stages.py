"""Run stages in the working directory with the command lines of dvc.yaml, in this process and without DVC."""

import json
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

from pipelines.lib.core.yaml_text import parse_yaml

DVC = Path(__file__).resolve().parents[1] / "dvc.yaml"

HISTORY = ("ingest_history", "validate_history", "featurize_history", "train", "export_onnx", "evaluate")
NIGHT = ("ingest_batch", "validate_batch", "featurize_batch", "validate_features", "score", "validate_scores")


def run_stage(stage: str) -> dict[str, Any] | None:
    """Run `stage`; returns its failure, None if it succeeds."""
    command = parse_yaml(DVC.read_text(encoding="utf-8"))["stages"][stage]["cmd"]
    run = parse_yaml(Path("run.yaml").read_text(encoding="utf-8"))
    words = shlex.split(re.sub(r"\$\{(\w+)\.(\w+)\}", lambda match: str(run[match[1]][match[2]]), command))
    assert words[:2] == ["python", "-m"]
    Path("failure.json").unlink(missing_ok=True)
    if import_module(words[2]).main(words[3:]) == 0:
        return None
    failure: dict[str, Any] = json.loads(Path("failure.json").read_text(encoding="utf-8"))
    return failure


def first_failure(*stages: str) -> tuple[str, dict[str, Any]] | None:
    """Run `stages` one after another; returns the name and the failure of the first that fails, None if all succeed."""
    for stage in stages:
        if (failure := run_stage(stage)) is not None:
            return stage, failure
    return None
