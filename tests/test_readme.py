"""The README's own table: the lines that it shows are a whole declaration, and they are as many as it says."""

import re
from pathlib import Path

import pytest

from pipelines.lib.features.declaration import load_features
from pipelines.lib.tables.dataset import load_dataset

ROOT = Path(__file__).resolve().parents[1]


def test_eight_lines_declare_a_table_and_a_ninth_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"```yaml\n(dataset:\n.*?)```", text, re.DOTALL)
    (features,) = re.findall(r"`(features: .*?)`", text)
    (tmp_path / "params.yaml").write_text(f"{table}{features}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert len(table.splitlines()) == 8
    assert load_dataset().key == ("order_id",)
    assert load_features().names == ["amount", "hour", "weekday"]


def test_the_readme_has_at_most_120_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
