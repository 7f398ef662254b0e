"""The costs of a model are measured of the file itself, and read back for that model alone."""

from pathlib import Path

import pytest

from pipelines.lib.models import costs
from pipelines.lib.models.inference import Model, load_model
from tests import scored_night


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "model.onnx").write_bytes(scored_night.onnx_bytes())
    return load_model(tmp_path / "model.onnx")


@pytest.mark.costly
def test_a_model_is_measured(model: Model, tmp_path: Path) -> None:
    found = costs.measure(model, tmp_path / "model.onnx", scored_night.values(1_000))
    assert found.sha256 == model.sha256
    assert 0 < found.p50_us <= found.p99_us
    assert 0 < found.memory_mib < 500
    assert found.size_mib == pytest.approx(len(scored_night.onnx_bytes()) / 2**20, abs=0.01)


def test_what_was_measured_is_read_back_for_this_model_alone(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    measured = costs.Costs("a" * 64, 8.0, 12.0, 30.0, 1.7)
    costs.write(path, {"challenger": measured, "champion": None})
    assert costs.read(path, "challenger", "a" * 64) == measured
    assert costs.read(path, "challenger", "b" * 64) is None
    assert costs.read(path, "champion", "a" * 64) is None
    assert costs.read(tmp_path / "nowhere.json", "challenger", "a" * 64) is None
    path.write_text("torn", encoding="utf-8")
    assert costs.read(path, "challenger", "a" * 64) is None
