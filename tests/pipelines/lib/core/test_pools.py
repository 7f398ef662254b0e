"""The pools that use cases declare."""

from pathlib import Path

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.pools import declared_pools, pool_slots

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("slots", [0, -1, "two", 1.5, True])
def test_slots_are_a_positive_number(slots: object) -> None:
    with pytest.raises(ConfigError, match=r"pool\.slots"):
        pool_slots({"pool": {"slots": slots}})


@pytest.mark.parametrize("params", [{}, {"pool": None}, {"pool": {"slots": None}}])
def test_there_is_no_pool_by_default(params: dict[str, object]) -> None:
    assert pool_slots(params) is None


def test_a_pool_has_the_name_of_its_use_case_and_a_broken_one_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    for name in ("params.yaml", "pipelines/defaults.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name, text in (("fraud", "pool: {slots: 2}"), ("bad", "pool: {slots: none}"), ("orders", "dataset: {}")):
        file = tmp_path / "use_cases" / name / "params.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    assert declared_pools(tmp_path) == {"fraud": 2}
