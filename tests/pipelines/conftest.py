"""One installation with registered versions, made once and copied for each test; and the settings of property tests."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from pipelines.lib.models import costs
from pipelines.lib.models.inference import Model
from tests.checked_rides import checked_rides, sound  # noqa: F401 - fixtures
from tests.registered_models import Installation, copy_template, make_template
from tests.s3_store import s3_server, s3_store  # noqa: F401 - fixtures

settings.register_profile("no deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadline")  # Hypothesis fails an example of more than 200 ms, which a slow machine may need


@pytest.fixture(scope="session")
def registered_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template that no test changes."""
    directory = tmp_path_factory.mktemp("registered")
    make_template(directory)
    return directory


@pytest.fixture
def installation_of_three(registered_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Three registered versions, of which none is champion yet, and a night that was recorded but not published."""
    return copy_template(registered_models, tmp_path / "installation", monkeypatch)


_COSTS: dict[str, costs.Costs] = {}


@pytest.fixture
def costs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the costs of each model once per process of the tests, since a measurement starts a process; by digest, so by its bytes."""
    measure = costs.measure

    def measure_once(model: Model, path: Path, rows: np.ndarray) -> costs.Costs:
        if model.sha256 not in _COSTS:
            _COSTS[model.sha256] = measure(model, path, rows)
        return _COSTS[model.sha256]

    monkeypatch.setattr(costs, "measure", measure_once)
