"""A forest knows how many rows it was fitted on and how many each tree drew, also after a skops file."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from pipelines.lib.models import skops_file
from pipelines.lib.models.forest_sample import ForestSample, sample_of


@pytest.mark.parametrize(("drawn", "wanted"), [(None, ForestSample(500, 500)), (120, ForestSample(500, 120))])
def test_a_forest_that_was_written_and_read_again_tells_its_sample(tmp_path: Path, drawn: int | None, wanted: ForestSample) -> None:
    rng = np.random.default_rng(0)
    forest = RandomForestClassifier(3, max_samples=drawn, random_state=0).fit(rng.normal(size=(500, 2)), rng.integers(0, 2, 500))
    skops_file.dump(forest, tmp_path / "m.skops")
    assert sample_of(skops_file.load(tmp_path / "m.skops")) == wanted
    assert wanted.is_part == (drawn is not None)
