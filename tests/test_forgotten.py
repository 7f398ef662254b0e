"""Things that are easily forgotten when a stage is added: its test, its task, the lists that name it. Each check says what to write.

Only text is read here, as in tests/test_house.py.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaffold import edits
from scaffold.new_stage import PAGE
from tests.dag_tasks import DAGS, operators, task_ids

ROOT = Path(__file__).resolve().parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
DAG_IDS = sorted(path.stem for path in DAGS.glob("*.py"))
MODULES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "pipelines").glob("*/*.py")
    if path.parent.name not in ("lib", "use_case") and path.stem != "__init__"  # the latter is a command of people
)
TASK_OF = {task: operator for dag_id in DAG_IDS for task, operator in operators(dag_id).items()}
DEFAULTS = Path("pipelines/defaults.yaml")
COMMANDS = {"search"}  # run by a person, by no DAG


def untested(module: Path) -> str | None:
    """Return what is missing if the module of a stage has no test file of its name."""
    test = Path("tests") / module.parent / f"test_{module.name}"
    return None if (ROOT / test).is_file() else f"{module}: no test; write {test}"


def without_task(stage: str, tasks: dict[str, str]) -> str | None:
    """Return what is missing if no DAG runs the stage of ``dvc.yaml``."""
    if tasks.get(stage) == "DvcStageOperator":
        return None
    return f'dvc.yaml: no DAG runs stage {stage}; add {stage} = DvcStageOperator(task_id="{stage}") to a file in dags/, or remove the stage'


def without_section(stage: str, sections: set[str]) -> str | None:
    """Return what is missing if the defaults have no section for a stage of ``dvc.yaml``."""
    return (
        None if stage in sections else f"{DEFAULTS}: no section {stage}, so no use case but the default one has it; add it ({stage}: {{}})"
    )


def placeholder(path: Path, text: str) -> str | None:
    """Return what is missing if the docstring of a stage or a DAG still has the line that ``make new-stage`` wrote."""
    lines = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    if found := next((line for line in lines if "Replace this line" in line), None):
        return f"{path}: the docstring still says {found!r}; write what the stage does in its place"
    return None


def nothing_to_tune(path: Path, text: str) -> list[str]:
    """Return what is missing for each section that has fields, but the docstring that ``make new-stage`` wrote for a section without any."""
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    tuned = [one for one in classes if any(isinstance(line, ast.AnnAssign) for line in one.body)]
    return [
        f"{path}: the docstring of {one.name} still says 'Nothing to tune yet'; write what its fields are, with their units"
        for one in tuned
        if (ast.get_docstring(one) or "").startswith("Nothing to tune yet")
    ]


def placeholder_cells(text: str) -> list[str]:
    """Return what is missing for each section whose row in the reference is still the one that ``make new-stage`` wrote."""
    rows = re.findall(r"^\| `(\w+)` \| Replace this cell", text, re.MULTILINE)
    return [f"{PAGE}: the row of {section} still says 'Replace this cell'; write what the stage is for in its place" for section in rows]


def unwatched(stage: str, entry: Mapping[str, Any]) -> list[str]:
    """Return what is missing if an argument of a stage is a file that is neither in its `deps` nor in its `outs`.

    A file inside of an argument counts, such as the verdict of a gate, and so does a folder around it.
    """
    named = [*entry["deps"], *entry["outs"]]
    read = [word for word in entry["cmd"].split() if word.startswith(("data/", "$"))]
    return [
        f"dvc.yaml, stages.{stage}: {path} is in cmd alone, so DVC does not see that it changes; add it to deps, or to outs if the stage writes it"
        for path in read
        if not any(f"{one}/".startswith(f"{path}/") or f"{path}/".startswith(f"{one}/") for one in named)
    ]


def test_no_row_of_the_reference_is_of_the_template() -> None:
    assert (missing := placeholder_cells((ROOT / PAGE).read_text(encoding="utf-8"))) == [], missing


def unlisted(outs: list[str], text: str) -> list[str]:
    """Return what is missing if the folder of an output has no row in ``data/README.md``, whose content is `text`."""
    rows = re.findall(r"^\| `(\w+)/", text, re.MULTILINE)
    folders = sorted({out.split("/")[1] for out in outs if out.startswith("data/")} - set(rows))
    return [f"data/README.md: no row for `{folder}/`; say what is in it and which stage writes it" for folder in folders]


def unlisted_packages(packages: set[str], text: str) -> list[str]:
    """Return what is missing if a package of stages has no row in ``CONTRIBUTING.md``, whose content is `text`."""
    rows = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    return [
        f"CONTRIBUTING.md, Where things are: no row for the package of stages `{package}`; say what its stages do"
        for package in sorted(packages - rows)
    ]


def unlinked(pages: list[str], text: str) -> list[str]:
    """Return what is missing if a page below ``docs/`` has no link in ``docs/README.md``, whose content is `text`."""
    linked = set(re.findall(r"\]\(([^)#]+)", text))
    return [f"docs/README.md: no link to {page}; add one, with what it answers or decides" for page in pages if page not in linked]


def test_the_page_of_docs_links_every_page() -> None:
    pages = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    missing = unlinked([page for page in pages if page != "README.md"], (ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    assert missing == [], missing


def test_the_page_of_data_has_a_row_for_every_output() -> None:
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert (
        missing := unlisted([out if isinstance(out, str) else next(iter(out)) for one in STAGES.values() for out in one["outs"]], text)
    ) == [], missing


def test_the_guide_has_a_row_for_every_package_of_stages() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Where things are")[2].partition("\n## ")[0]
    assert (missing := unlisted_packages({module.parent.name for module in MODULES}, text)) == [], missing


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_files_of_its_command(stage: str) -> None:
    assert (missing := unwatched(stage, STAGES[stage])) == [], missing


@pytest.mark.parametrize("path", [*MODULES, *(Path("dags") / f"{dag_id}.py" for dag_id in DAG_IDS)], ids=str)
def test_no_docstring_has_a_line_of_the_template(path: Path) -> None:
    assert (missing := placeholder(path, (ROOT / path).read_text(encoding="utf-8"))) is None, missing


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_section_with_fields_says_what_they_are(module: Path) -> None:
    assert (missing := nothing_to_tune(module, (ROOT / module).read_text(encoding="utf-8"))) == [], missing


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_stage_has_a_test(module: Path) -> None:
    assert (missing := untested(module)) is None, missing


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_dvc_is_a_task(stage: str) -> None:
    assert (missing := without_task(stage, TASK_OF)) is None, missing


@pytest.mark.parametrize("stage", STAGES)
def test_the_defaults_have_a_section_for_each_stage(stage: str) -> None:
    sections = set(yaml.safe_load((ROOT / DEFAULTS).read_text(encoding="utf-8")))
    assert (missing := without_section(stage, sections)) is None, missing


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_that_is_not_a_stage_of_dvc_is_a_task(module: Path) -> None:
    if module.stem in STAGES or module.stem in COMMANDS:
        return
    runs = 'StageOperator(task_id="' + module.stem + f'", package="{module.parent.name}")'
    used = module.stem in TASK_OF or any(f"pipelines.{module.parent.name}.{module.stem}" in text for text in _runtime())
    assert used, f"{module}: no task runs it; add {runs} to a file in dags/, or remove it"


def _runtime() -> list[str]:
    return [path.read_text(encoding="utf-8") for folder in ("plugins", "deploy") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_every_task_of_a_dag_has_a_place_in_its_order(dag_id: str) -> None:
    """A task that no arrow touches runs at once, next to the first one."""
    tasks = set(task_ids(dag_id))
    if len(tasks) == 1:
        return
    tree = ast.parse((DAGS / f"{dag_id}.py").read_text(encoding="utf-8"))
    placed = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.RShift | ast.LShift)
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
    }
    assert not tasks - placed, f"dags/{dag_id}.py: {', '.join(sorted(tasks - placed))} has no place in the chain; write open_run >> ..."


def test_a_forgotten_test_is_named() -> None:
    assert (
        untested(Path("pipelines/scoring/nowhere.py"))
        == "pipelines/scoring/nowhere.py: no test; write tests/pipelines/scoring/test_nowhere.py"
    )


def test_a_forgotten_task_is_named() -> None:
    assert "no DAG runs stage nowhere" in str(without_task("nowhere", TASK_OF))
    assert without_task("score", {"score": "StageOperator"}) is not None  # it would run without DVC


def test_a_forgotten_section_is_named() -> None:
    assert "no section nowhere" in str(without_section("nowhere", {"score"}))
    assert without_section("score", {"score"}) is None


def test_a_forgotten_row_of_the_reference_is_named() -> None:
    (missing,) = placeholder_cells(edits.add_row("| `score` | the threshold | `{}` |\n", "weigh", "score"))
    assert "the row of weigh still says" in missing


def test_a_forgotten_file_is_named() -> None:
    entry = {"cmd": "python -m x --gate data/gate --a data/a.parquet --b data/b/c --out data/out", "outs": ["data/out"]}
    whole = {**entry, "deps": ["data/gate/verdict.json", "data/a.parquet", "data/b"]}
    assert unwatched("weigh", whole) == []
    (missing,) = unwatched("weigh", {**whole, "deps": [*whole["deps"][:1], "data/a", "data/b"]})
    assert "stages.weigh: data/a.parquet is in cmd alone" in missing


def test_a_forgotten_docstring_is_named() -> None:
    path = Path("dags/nowhere.py")
    message = placeholder(path, '"""Score.\n\n* `weigh`: Replace this line. Describe it.\n"""\n')
    assert message is not None
    assert message.startswith("dags/nowhere.py: the docstring still says '* `weigh`: Replace this line.")
    assert placeholder(path, '"""Score.\n\n* `weigh` weighs the rows.\n"""\nx = "Replace this line"\n') is None


def test_a_page_without_a_link_is_named() -> None:
    [missing] = unlinked(["how-to/a.md", "adr/0001-b.md"], "See [a](how-to/a.md#part).")
    assert missing.startswith("docs/README.md: no link to adr/0001-b.md;")


def test_an_output_without_a_row_is_named() -> None:
    text = "| folder | what | written by |\n| --- | --- | --- |\n| `scores/` | the scores | `score` |\n"
    assert unlisted(["data/scores/scores.parquet"], text) == []
    assert unlisted(["data/counts/counts.json"], text) == [
        "data/README.md: no row for `counts/`; say what is in it and which stage writes it"
    ]


def test_a_package_of_stages_without_a_row_is_named() -> None:
    (missing,) = unlisted_packages({"scoring", "nowhere"}, "| `scoring` | scores |\n")
    assert "no row for the package of stages `nowhere`" in missing


def test_a_section_that_says_it_has_no_fields_is_named() -> None:
    path, template = Path("pipelines/scoring/nowhere.py"), (ROOT / "scaffold" / "templates" / "stage.py.jinja").read_text(encoding="utf-8")
    (docstring,) = re.findall(r'"""(Nothing to tune yet\..*)"""', template)
    assert nothing_to_tune(path, f'class Nowhere(Section):\n    """{docstring}"""\n') == []
    (missing,) = nothing_to_tune(path, f'class Nowhere(Section):\n    """{docstring}"""\n\n    by: str | None = None\n')
    assert "the docstring of Nowhere still says 'Nothing to tune yet'" in missing
