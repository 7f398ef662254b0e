"""Every supported estimator: the same bytes each time, no pickle, and an ONNX file that gives the same probabilities."""

import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.lib.core.errors import ModelError
from pipelines.lib.features.signature import Signature
from pipelines.lib.models import skops_file
from pipelines.lib.models.conversion import convert, float32_below
from pipelines.lib.models.estimators import not_reproducible
from pipelines.lib.models.forest_sample import sample_of
from pipelines.lib.models.inference import load_model
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import train
from tests import models_of_every_kind
from tests.models_of_every_kind import KINDS, NAMES, history

SIGNATURE = Signature(NAMES, "0" * 64)
TOLERANCE = 1e-5
"""evaluate.parity_tolerance as shipped."""


@cache
def fitted(kind: str) -> Any:
    return train(history(), models_of_every_kind.params(kind))


@cache
def exported(kind: str) -> bytes:
    return export_onnx(fitted(kind), SIGNATURE, ExportOnnx(opset=22))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_training_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    again = train(history(), models_of_every_kind.params(kind))
    for name, model in (("first", fitted(kind)), ("second", again)):
        skops_file.dump(model, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert export_onnx(again, SIGNATURE, ExportOnnx(opset=22)) == exported(kind)
    assert not_reproducible(again) is None


@pytest.mark.costly
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_the_probabilities_of_the_model_that_was_trained(kind: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(exported(kind))
    model, rows = load_model(tmp_path / "m.onnx"), history(20_000, seed=1).features
    wanted = fitted(kind).predict_proba(rows)
    (found,) = model.session.run(["probabilities"], {"features": rows})
    assert (found.dtype, found.shape) == (np.float32, (len(rows), 2))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)
    alone = [model.score(row[None, :])[0] for row in rows[:500]]
    np.testing.assert_allclose(alone, model.score(rows[:500]), rtol=0, atol=1e-6)  # the sums of a network end in other bits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", [-1.0, -2.0, -999.0, 0.0, 1e9])
def test_codes_of_missing_values_and_fillers_are_numbers_like_others(kind: str, code: float, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(exported(kind))
    rows = history(200, seed=2).features.copy()
    rows[:, 0] = rows[:, 1] = code
    np.testing.assert_allclose(load_model(tmp_path / "m.onnx").score(rows), fitted(kind).predict_proba(rows)[:, 1], rtol=0, atol=TOLERANCE)


@pytest.mark.costly
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_model_back_and_holds_no_pickle(kind: str, tmp_path: Path) -> None:
    skops_file.dump(fitted(kind), tmp_path / "m.skops")
    model = skops_file.load(tmp_path / "m.skops")
    rows = history(500, seed=3).features
    np.testing.assert_allclose(model.predict_proba(rows), fitted(kind).predict_proba(rows), rtol=0, atol=1e-12)
    assert sample_of(model).rows == 4_000
    assert export_onnx(model, SIGNATURE, ExportOnnx(opset=22)) == exported(kind)
    with zipfile.ZipFile(tmp_path / "m.skops") as file:
        assert json.loads(file.read("schema.json"))
        for name in file.namelist():
            assert not file.read(name).startswith(b"\x80"), f"{name} begins as a pickle does"


def test_an_estimator_that_has_no_converter_is_refused() -> None:
    from sklearn.semi_supervised import LabelSpreading

    rows = history(200)
    with pytest.raises(
        ModelError, match=r"sklearn\.semi_supervised\.LabelSpreading cannot be converted to ONNX .*choose another train\.estimator"
    ):
        convert(LabelSpreading().fit(rows.features, rows.labels), len(NAMES), 22)


def test_a_threshold_sends_every_float32_the_same_way() -> None:
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    between = (np.float64(low) + np.float64(high)) / 2
    above = np.nextafter(between, 2.0)  # its nearest float32 is `high`
    assert np.float32(above) == high
    for threshold in (np.float64(low), between, above, np.float64(high), -between, 0.0, 1e-40):
        (found,) = float32_below([threshold])
        assert found == np.float32(found) <= threshold
        for value in (low, high, -low, -high, np.float32(0)):
            assert (value <= threshold) == (value <= found)
