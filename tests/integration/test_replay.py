"""The default model, rebuilt for real: trained on the flights, thrown away, and made again from its run's ref, byte for byte."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_repository import RealRepository

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_champion_comes_out_of_its_ref_byte_for_byte(tmp_path: Path) -> None:
    repository = RealRepository(tmp_path)
    repository.train()
    command = [sys.executable, "-m", "pipelines.registry.replay", "1"]
    done = subprocess.run(command, cwd=repository.root, env=repository.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((repository.root / "data/reports/replay/report.json").read_text())
    assert report["equal"] is True
    assert report["sha256"]["recorded"] == report["sha256"]["rebuilt"]
    assert {"auc", "log_loss", "brier"} <= {row["name"] for row in report["metrics"]}
    assert [one["name"] for one in report["inputs"] if not one["equal"]] == []
    assert report["stopped"] is None
