"""Both parameter files hold what every stage reads: the repository's own, and that of the other table on which the tests run."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from pipelines.lib.core.params import load_section, read_yaml

ROOT = Path(__file__).resolve().parents[1]
OWN, ORDERS = ROOT / "params.yaml", ROOT / "tests" / "datasets" / "orders_params.yaml"
READ = sorted(
    (".".join(path.relative_to(ROOT).with_suffix("").parts), *found)
    for path in (ROOT / "pipelines").rglob("*.py")
    for found in re.findall(r'load_section\("(\w+)", (\w+)\)', path.read_text(encoding="utf-8"))
)


@pytest.mark.parametrize(("module", "section", "model"), READ)
def test_a_section_is_what_its_stage_reads(module: str, section: str, model: str) -> None:
    load_section(section, getattr(import_module(module), model), OWN)


@pytest.mark.parametrize(("module", "section", "model"), [read for read in READ if read[1] in read_yaml(ORDERS)])
def test_a_section_of_the_other_table_is_what_its_stage_reads(module: str, section: str, model: str) -> None:
    """The other table is scored, trained on and indexed, not monitored; tests/test_forgotten.py checks that no stage of DVC lacks its section."""
    load_section(section, getattr(import_module(module), model), ORDERS)


DEFAULTS = ROOT / "pipelines" / "defaults.yaml"


@pytest.mark.parametrize(
    ("module", "section", "model"), [read for read in READ if read[1] in read_yaml(DEFAULTS) and read[1] != "registry"]
)
def test_a_default_section_is_what_its_stage_reads(module: str, section: str, model: str) -> None:
    load_section(section, getattr(import_module(module), model), DEFAULTS)


def test_the_sections_are_found() -> None:
    sections = {section for _, section, _ in READ}
    assert {"dataset", "features", "train", "evaluate", "score", "govern", "plan_index"} <= sections
