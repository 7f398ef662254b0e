"""The README declares a whole table in the lines that it promises, and images are small and have a text alternative."""

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


def test_an_image_is_small_and_has_a_text_alternative() -> None:
    images = sorted(path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file())
    used = {}
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            used[(document.parent / target).resolve()] = text
    assert sorted(used) == images
    assert [path.name for path in images if path.stat().st_size > 200_000] == []
    assert [path.name for path, text in used.items() if len(text.split()) < 5] == []


def test_a_test_that_proves_a_guarantee_exists() -> None:
    proofs = re.findall(r"\[`(test_\w+)`\]\(([^)\s]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(proofs) >= 3
    assert [name for name, path in proofs if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")] == []


@pytest.mark.costly
def test_the_body_of_the_rest_call_is_one_that_airflow_takes() -> None:
    from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody

    (body,) = re.findall(r"^\| REST \|.*`(\{.*?\})`", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    taken = TriggerDAGRunPostBody.model_validate_json(body)
    assert (taken.logical_date, taken.partition_key) == (None, "2013-06-01")
