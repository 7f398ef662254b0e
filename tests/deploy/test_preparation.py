"""The steps of `make demo` and `make up` for a use case before anything starts."""

from pathlib import Path

import pandas as pd
import pytest

from deploy.embedded.preparation import lacks_data, needs_derivation, prepare
from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.use_cases import UseCase, find

ROOT = Path(__file__).resolve().parents[2]

DECLARATION = """
dataset:
  source: {kind: parquet, path: "var/examples/shop/*.parquet"}
  key: [order_id]
  event_time: placed_at
  label: {name: returned, expression: came_back, delay_days: 2}
  columns: {order_id: {type: string}, placed_at: {type: timestamp}, amount: {type: float}, came_back: {type: boolean, nulls: 1}}
  known_later: [came_back]
features:
  numeric: {amount: {missing: -1}}
  calendar: [hour]
"""

GENERATOR = """
from pathlib import Path
import numpy as np, pandas as pd
random = np.random.default_rng(1)
days = pd.date_range("2024-01-01", periods=90).repeat(60)
Path("var/examples/shop").mkdir(parents=True)
returned = random.random(len(days)) < 0.3
orders = pd.DataFrame({"placed_at": days + pd.to_timedelta(random.integers(0, 86400, len(days)), unit="s"), "came_back": returned})
orders["order_id"] = [f"o{number}" for number in range(len(days))]
orders["amount"] = random.lognormal(3, 1, len(days)) * (1 + returned)
orders["placed_at"] = orders["placed_at"].astype("datetime64[us]")
orders.to_parquet("var/examples/shop/orders.parquet")
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """A worked example whose data nobody has made, next to the default use case."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(tmp_path))
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for name in ("defaults.yaml", "suites"):
        (tmp_path / "pipelines").mkdir(exist_ok=True)
        (tmp_path / "pipelines" / name).symlink_to(ROOT / "pipelines" / name)
    folder = tmp_path / "use_cases" / "shop"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "params.yaml").write_text(DECLARATION, encoding="utf-8")
    (folder / "generate.py").write_text(GENERATOR, encoding="utf-8")
    return find("shop", tmp_path)


@pytest.mark.costly
def test_an_example_gets_its_data_and_its_derived_parameters_once(shop: UseCase) -> None:
    steps: list[str] = []
    assert lacks_data(shop)
    assert needs_derivation(shop)
    prepare(shop, steps.append)
    assert len(pd.read_parquet("var/examples/shop/orders.parquet")) == 5400
    assert shop.derived.exists()
    assert any("Commit it" in step for step in steps)
    derived, steps[:] = shop.derived.read_bytes(), []
    prepare(shop, steps.append)
    assert steps == []
    assert shop.derived.read_bytes() == derived


def test_a_declaration_that_leaves_nothing_open_is_not_derived(shop: UseCase) -> None:
    assert not needs_derivation(find("", shop.root))


@pytest.mark.costly
def test_all_faults_are_listed_before_anything_starts(shop: UseCase) -> None:
    prepare(shop, lambda step: None)
    shop.declaration.write_text(DECLARATION + "score: {threshold: 7}\ntrain: {max_deth: 4}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        prepare(shop, lambda step: None)
    assert "faults in shop" in str(raised.value)
    assert "score.threshold" in str(raised.value)
    assert "max_deth" in str(raised.value)


def test_a_generator_that_fails_says_why(shop: UseCase) -> None:
    (shop.root / "use_cases" / "shop" / "generate.py").write_text("raise SystemExit('no space for orders')\n", encoding="utf-8")
    with pytest.raises(DataError, match="no space for orders"):
        prepare(shop, lambda step: None)


@pytest.mark.parametrize("path", ["s3://bucket/shop/*.parquet", "/srv/shop/*.parquet"])
def test_data_that_are_elsewhere_are_not_made(path: str, shop: UseCase) -> None:
    shop.declaration.write_text(DECLARATION.replace("var/examples/shop/*.parquet", path), encoding="utf-8")
    assert not lacks_data(shop)
