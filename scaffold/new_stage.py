"""Add a stage: its module and test from a template, its entry in dvc.yaml, its section in params.yaml and its task in a DAG.

    make new-stage name=summarize package=scoring dag=nightly_batch_scoring after=publish_scores

Everything is checked before the first file is written. If something is wrong, no file changes, and every fault is named.
"""

import argparse
import ast
import keyword
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from scaffold.edits import EditError, add_model, add_row, add_section, add_stage, add_task
from scaffold.imports import ROOT, imported_by, packages

EXAMPLE = "make new-stage name=summarize package=scoring dag=nightly_batch_scoring after=publish_scores"
DEFAULTS = Path("pipelines/defaults.yaml")
"""Every use case but the default one has the sections that are here, so every stage needs its section here too."""
SECTIONS = Path("pipelines/lib/declarations/sections.py")
PAGE = Path("docs/reference/use-cases.md")
"""It lists every section with its default."""
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - Python, not HTML
)


class NewStageError(Exception):
    """The stage cannot be added; the message names every fault, one in a line."""


@dataclass(frozen=True)
class Request:
    """The arguments of the command. `reads` is empty if the stage shall read the output of the stage before it."""

    name: str
    package: str
    dag: str
    after: str
    reads: str = ""


@dataclass(frozen=True)
class Repository:
    """The content of the repository's files: stages of dvc.yaml, sections, packages with the stages in each, and DAGs."""

    stages: Mapping[str, Mapping[str, Any]]
    sections: frozenset[str]
    packages: Mapping[str, frozenset[str]]
    dags: frozenset[str]

    @classmethod
    def read(cls) -> "Repository":
        """Read it from the files below `ROOT`."""
        modules = [path for path in (ROOT / "pipelines").glob("*/*.py") if path.parent.name != "lib"]
        return cls(
            stages=_load(Path("dvc.yaml"))["stages"],
            sections=frozenset(_load(Path("params.yaml"))),
            packages={
                package: frozenset(path.stem for path in modules if path.parent.name == package and path.stem != "__init__")
                for package in sorted({path.parent.name for path in modules})
            },
            dags=frozenset(path.stem for path in (ROOT / "dags").glob("*.py")),
        )


def new_files(request: Request) -> dict[Path, str]:
    """Write the new text of every file that the stage needs, by path below the root. Raises `NewStageError`; no file changes."""
    repository = Repository.read()
    _refuse(_faults_of_names(request, repository))
    dag = (ROOT / "dags" / f"{request.dag}.py").read_text(encoding="utf-8")
    tasks = _tasks(dag)
    _refuse(_faults_of_place(request, tasks, dag))
    before = list(tasks)[: list(tasks).index(request.after) + 1]  # a DAG's file lists its tasks in the order in which they run
    outs = {out: stage for stage in before if stage in repository.stages for out in repository.stages[stage]["outs"]}
    reads = request.reads or _default_input(outs, request)
    _refuse(_faults_of_input(reads, outs, request))
    gate = request.after if request.after.startswith("validate_") else ""

    section = "".join(word.capitalize() for word in request.name.split("_"))
    context = {
        "name": request.name,
        "package": request.package,
        "section": section,
        "reads": reads,
        "table": reads.endswith(".parquet"),
        "source": "source.parquet" if reads.endswith(".parquet") else "source",
        "gate": gate,
        "report": f"data/reports/{request.name}",
    }
    module, test = Path(f"pipelines/{request.package}/{request.name}.py"), Path(f"tests/pipelines/{request.package}/test_{request.name}.py")
    code = _TEMPLATES.get_template("stage.py.jinja").render(context)
    _refuse(_faults_of_code(request.name, code))
    gates = {f"--gate data/reports/{gate}": f"data/reports/{gate}/verdict.json"} if gate else {}
    cmd = " ".join([f"python -m pipelines.{request.package}.{request.name} --source {reads}", *gates, f"--report {context['report']}"])
    entry = {
        "deps": [str(module), "requirements.txt", *packages(*imported_by(code)), reads, *gates.values()],
        "params": [request.name, *([{"run.yaml": ["partition"]}] if gate else [])],
        "outs": [context["report"]],
    }
    neighbour = next((task for task in reversed(before) if task in repository.stages), None)
    edits = (Path("dvc.yaml"), Path("params.yaml"), DEFAULTS, PAGE, SECTIONS)
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in edits}
    try:
        edited = {
            Path("dvc.yaml"): add_stage(texts[Path("dvc.yaml")], request.name, neighbour, entry, cmd),
            Path("params.yaml"): add_section(texts[Path("params.yaml")], request.name, neighbour),
            DEFAULTS: add_section(texts[DEFAULTS], request.name, neighbour),
            PAGE: add_row(texts[PAGE], request.name, neighbour),
            SECTIONS: add_model(texts[SECTIONS], request.name, f"pipelines.{request.package}.{request.name}", section),
            Path("dags") / f"{request.dag}.py": add_task(dag, request.name, request.after),
        }
    except EditError as error:
        raise NewStageError(f"{error}. Add the stage yourself: CONTRIBUTING.md, Add a stage") from None
    written = {module: code, test: _TEMPLATES.get_template("test.py.jinja").render(context), **edited}
    return {path: _formatted(path, text) if path.suffix == ".py" else text for path, text in written.items()}


def write(files: Mapping[Path, str]) -> None:
    """Write all `files` below the root. If one cannot be written, put back what was there, and raise the error."""
    old = {path: (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else None for path in files}
    try:
        for path, text in files.items():
            _replace(path, text)
    except OSError:
        for path, before in old.items():
            if before is None:
                (ROOT / path).unlink(missing_ok=True)
            elif (ROOT / path).read_text(encoding="utf-8") != before:
                _replace(path, before)
        raise


def _replace(path: Path, text: str) -> None:
    temporary = (ROOT / path).with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, ROOT / path)
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------ what is wrong


def _refuse(faults: Iterator[str]) -> None:
    if found := list(faults):
        raise NewStageError("\n".join(found))


def _faults_of_names(request: Request, repository: Repository) -> Iterator[str]:
    for field in ("name", "package", "dag", "after"):
        if not getattr(request, field):
            yield f"{field}= is missing; for example: {EXAMPLE}"
    name = request.name
    if name and (not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name)):
        yield f"name={name}: not a name for a module; write lower-case words with underscores, a verb first: summarize_scores"
    for package, modules in repository.packages.items():
        if name in modules:
            yield f"name={name}: pipelines/{package}/{name}.py exists; take another name"
    if name in repository.sections and not any(name in modules for modules in repository.packages.values()):
        yield f"name={name}: params.yaml has a section of this name; take another name"
    if name in repository.dags:
        yield f"name={name}: dags/{name}.py is a DAG; take another name"
    of_stages = [package for package, modules in repository.packages.items() if "__main__" not in modules]  # else it is a command of people
    if request.package and request.package not in of_stages:
        yield f"package={request.package}: not a package of stages; take one of {', '.join(of_stages)}"
    if request.dag and request.dag not in repository.dags:
        yield f"dag={request.dag}: no DAG has this name; take one of {', '.join(sorted(repository.dags))}"
    test = f"tests/pipelines/{request.package}/test_{name}.py"
    if (ROOT / test).exists():
        yield f"name={name}: {test} exists; take another name, or remove the test"


def _faults_of_place(request: Request, tasks: Mapping[str, str], dag: str) -> Iterator[str]:
    if "open_run" not in tasks:
        yield f"dag={request.dag}: this DAG opens no workspace, so a stage of DVC cannot run in it; take another DAG"
        return
    possible = [task for task in tasks if task != "close_run"]
    if request.after not in possible:
        yield f"after={request.after}: not a task that another one can follow; {request.dag} has {', '.join(possible)}"
    elif tasks[request.after].endswith(".partial"):
        yield f"after={request.after}: this task runs once per month and may be skipped; take one of the tasks after it"
    if request.name in _bound(ast.parse(dag)):
        yield f"name={request.name}: dags/{request.dag}.py uses this name for something else; take another name"
    if "DvcStageOperator" not in _bound(ast.parse(dag)):
        yield f"dag={request.dag}: no task of it is a stage of DVC, so no file can be read; see CONTRIBUTING.md, Add a stage"


def _faults_of_input(reads: str, outs: Mapping[str, str], request: Request) -> Iterator[str]:
    if "$" in reads or not any(reads == out or reads.startswith(f"{out}/") for out in outs):
        known = ", ".join(out for out in outs if "$" not in out)
        yield f"reads={reads}: no stage up to {request.after} writes it; take one of {known or '(none: choose a later task)'}"


def _faults_of_code(name: str, code: str) -> Iterator[str]:
    if sum(bound == name for bound in _bound_often(ast.parse(code))) != 1:
        yield f"name={name}: the code of every stage uses this name for something else; take another name"


def _default_input(outs: Mapping[str, str], request: Request) -> str:
    """Find the first file that is not a report, of the last stage that writes one."""
    plain = {out: stage for out, stage in outs.items() if not out.startswith("data/reports/") and "$" not in out}
    if not plain:
        raise NewStageError(f"after={request.after}: no stage up to it writes data that could be read; choose a later task")
    last = list(plain.values())[-1]
    return next(out for out, stage in plain.items() if stage == last)


# ------------------------------------------------------------------------------------------------ reading


def _load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))


def _tasks(dag: str) -> dict[str, str]:
    """Read each task of a DAG with its operator, in the order of the file."""
    found = {}
    for node in ast.walk(ast.parse(dag)):
        if isinstance(node, ast.Assign):
            for call in ast.walk(node.value):
                if isinstance(call, ast.Call) and any(argument.arg == "task_id" for argument in call.keywords):
                    found[ast.unparse(node.targets[0])] = ast.unparse(call.func)
    return found


def _bound_often(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _bound(tree: ast.Module) -> set[str]:
    return set(_bound_often(tree))


def _formatted(path: Path, text: str) -> str:
    """Format `text` with ruff, its imports in order."""
    order = ["check", "--select", "I", "--fix-only", "--quiet", "--config", 'lint.isort.known-first-party=["pipelines"]']
    for arguments in (order, ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(path), "-"]
        text = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Add the stage that the command line describes. Returns 1 if nothing was written."""
    parser = argparse.ArgumentParser(prog="make new-stage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in ("name", "package", "dag", "after", "reads"):
        parser.add_argument(f"--{field}", default="")
    request = Request(**vars(parser.parse_args(argv)))
    try:
        files = new_files(request)
        write(files)
    except (NewStageError, OSError) as error:
        print(f"NOT ADDED, no file changed:\n{error}", file=sys.stderr)
        return 1
    print("\n".join(f"wrote {path}" for path in files))
    print(f"Now write what {request.name} computes, and its test. Then run `dvc repro {request.name}`, and commit dvc.lock with the rest.")
    print(
        "CONTRIBUTING.md, Add a stage, has the steps, and data/README.md the columns of each file. make demo then runs the stage in Airflow."
    )
    print("`git restore . && git clean -f pipelines tests` undoes all of it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
