"""The parameter files hold what every stage reads: the repository's own, and the defaults. tests/use_cases/ checks the others."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from pipelines.lib.core.params import load_section, read_yaml
from pipelines.lib.declarations.sections import SECTIONS, model_of

ROOT = Path(__file__).resolve().parents[1]
OWN, DEFAULTS = ROOT / "params.yaml", ROOT / "pipelines" / "defaults.yaml"


def read_sections() -> list[tuple[str, str, str]]:
    """Return each call ``load_section("section", Model)`` of the code as (module, section, model)."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "pipelines").rglob("*.py"))}
    callers = {".".join(path.relative_to(ROOT).with_suffix("").parts): text for path, text in files.items() if "load_section(" in text}
    calls = ((module, node) for module, text in callers.items() for node in ast.walk(ast.parse(text)))
    return [
        (module, str(call.args[0].value), ast.unparse(call.args[1]))
        for module, call in calls
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "load_section" and isinstance(call.args[0], ast.Constant)
    ]


@pytest.mark.parametrize("section", sorted(set(SECTIONS) - {"first_run"}))
def test_a_section_is_what_its_stage_reads(section: str) -> None:
    load_section(section, model_of(section), OWN)


@pytest.mark.parametrize("section", sorted(set(SECTIONS) & set(read_yaml(DEFAULTS)) - {"registry"}))
def test_a_default_section_is_what_its_stage_reads(section: str) -> None:
    load_section(section, model_of(section), DEFAULTS)


@pytest.mark.parametrize(("module", "section", "model"), read_sections())
def test_the_model_of_a_section_is_the_one_that_its_stage_reads(module: str, section: str, model: str) -> None:
    """A stage may read a part of another's section with a model of its own, which then ignores the other keys."""
    read = getattr(import_module(module), model)
    assert section in SECTIONS, f"{module} reads section {section}; name its model in pipelines/lib/declarations/sections.py"
    assert read is model_of(section) or read.model_config.get("extra") in ("allow", "ignore"), (
        f"{section} is a {read}, not {SECTIONS[section]}"
    )


UNSET = {
    "expectations",  # of every gate: those that a person adds
    *("minimum_label", "maximum_label", "minimum_label_mean", "maximum_label_mean"),  # of labels that are numbers: derived
    "maximum_empty_date_share",  # zero, until a table needs more
}
"""Fields that the defaults do not name: a table sets them if it has a reason."""


def without_default(section: str, fields: set[str], named: set[str]) -> str | None:
    """Return what is missing if the defaults do not name every field of a section."""
    missing = ", ".join(sorted(fields - named - UNSET))
    return (
        f"pipelines/defaults.yaml: section {section} does not name {missing}; add its default there (null if it has none)"
        if missing
        else None
    )


@pytest.mark.parametrize("section", sorted(set(SECTIONS) & set(read_yaml(DEFAULTS))))
def test_the_defaults_name_every_field(section: str) -> None:
    """A default that is in the code alone is missing in the reference, and nobody finds what can be tuned."""
    assert (missing := without_default(section, set(model_of(section).model_fields), set(read_yaml(DEFAULTS)[section]))) is None, missing


def test_a_field_that_the_defaults_do_not_name_is_named() -> None:
    assert without_default("count", {"by", "top", "expectations"}, {"top"}) == (
        "pipelines/defaults.yaml: section count does not name by; add its default there (null if it has none)"
    )


def test_every_section_has_a_model() -> None:
    assert set(read_yaml(OWN)) <= set(SECTIONS)
    assert set(read_yaml(DEFAULTS)) <= set(SECTIONS)


def test_the_reference_lists_every_section_with_its_default() -> None:
    """docs/reference/use-cases.md has a row for each section; its last cell is the default as YAML, or says who writes the section."""
    text = (ROOT / "docs/reference/use-cases.md").read_text(encoding="utf-8").partition("## Every section")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", text, re.MULTILINE))
    defaults = read_yaml(DEFAULTS)
    assert list(rows) == ["dataset", "features", "first_run", *defaults]
    wrong = [
        f"| `{section}` | … | `{yaml.safe_dump(default, default_flow_style=True, sort_keys=False, width=10**6).strip()}` |"
        for section, default in defaults.items()
        if yaml.safe_load(rows[section].strip("`")) != default
    ]
    assert wrong == [], "write these rows into docs/reference/use-cases.md"
    assert set(SECTIONS) == set(rows)
