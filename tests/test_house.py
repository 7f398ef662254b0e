"""The conventions of the repository: names, words and what a stage may do, each a check that fails with the file, the line and the remedy.

Ruff and import-linter check the rest: layers, shells, pickles (pyproject.toml).

Only text is read here, never imported, so that all of it takes a second. A rule about code is a function from one source file to its
faults; the samples at the end prove that each of them bites.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CODE = ("pipelines", "plugins", "dags", "deploy", "benchmarks", "scaffold", "use_cases", "tests")
PRODUCTION = ("pipelines", "plugins", "dags", "deploy")

NOUNS = {"dataset", "features", "profile", "registry", "pool"}  # sections of no single stage or DAG
RUN_TASKS = {"open_run", "close_run", "approve", "ask"}  # no stages: they make and end the workspace, wait for a person, wake a DAG
HEAVY = {
    "pandas",
    "numpy",
    "pyarrow",
    "mlflow",
    "faiss",
    "onnx",
    "onnxruntime",
    "great_expectations",
    "sklearn",
    "duckdb",
    "deltalake",
    "dvc",
}
NO_NAME = {"util", "utils", "helper", "helpers", "common", "misc", "stuff"}
NOT_OUR_WORDS = {"execution_date", "logical_date"}
LONGEST_STAGE = 160
LONGEST_MODULE = 300


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, its text and its tree."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def stem(self) -> str:
        return Path(self.path).stem

    def at(self, node: ast.AST | int, fault: str) -> str:
        """Return `fault` as people and editors read it: ``path:line: fault``."""
        return f"{self.path}:{node if isinstance(node, int) else getattr(node, 'lineno', 1)}: {fault}"


Rule = Callable[[Source], Iterator[str]]


@cache
def read(path: Path) -> Source:
    return Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


def sources(*folders: str) -> list[Source]:
    return [read(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


COMMAND = "pipelines/use_case/"
"""The command of people who write use cases: no stage, and the one place that asks for today's date."""


def stage_modules() -> list[Source]:
    """Return every module in a package of stages: all of pipelines/ but the library and the command."""
    return [
        source
        for source in sources("pipelines")
        if source.path.count("/") == 2 and not source.path.startswith(("pipelines/lib/", COMMAND)) and source.stem != "__init__"
    ]


def load(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text(encoding="utf-8")))


STAGES: dict[str, dict[str, Any]] = load("dvc.yaml")["stages"]
SECTIONS = set(load("params.yaml"))
PACKAGES = {source.stem: Path(source.path).parent.name for source in stage_modules()}


def refuse(faults: Iterable[str]) -> None:
    found = list(faults)
    if found:
        pytest.fail("\n".join([f"{len(found)} against the conventions of the repository:", *found]), pytrace=False)


def follow(rule: Rule, files: Iterable[Source]) -> None:
    refuse(fault for source in files for fault in rule(source))


# ------------------------------------------------------------------------------------------------ reading a tree


@cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return `tree` and all that is below it. Most rules look at every node of every file, and walking takes longer than they do."""
    return tuple(ast.walk(tree))


@cache
def imports(tree: ast.Module, *, only_at_start: bool = False) -> tuple[tuple[ast.AST, str], ...]:
    """Return each imported module as (node, dotted name); `only_at_start` leaves out what is imported inside functions or for types
    alone.
    """

    def walk(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
        for child in ast.iter_child_nodes(node):
            if only_at_start and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if only_at_start and isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                for other in child.orelse:
                    yield from walk(other)
                continue
            if isinstance(child, ast.Import):
                yield from ((child, alias.name) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from ((child, f"{child.module}.{alias.name}") for alias in child.names)
            else:
                yield from walk(child)

    return tuple(walk(tree))


@cache
def calls(tree: ast.AST, name: str = "") -> tuple[ast.Call, ...]:
    """Return the calls of a function or class whose last name is `name`, or all calls."""
    return tuple(node for node in nodes(tree) if isinstance(node, ast.Call) and name in ("", last_name(node.func)))


def last_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ast.unparse(function).rpartition(".")[2]


def keyword(call: ast.Call, name: str) -> Any:
    """Return the literal value of a keyword argument, or None."""
    value = next((argument.value for argument in call.keywords if argument.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def functions(tree: ast.Module) -> set[str]:
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


# ------------------------------------------------------------------------------------------------ one name, four places


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_one_word_in_every_place(stage: str) -> None:
    found = [source for source in stage_modules() if source.stem == stage]
    if len(found) != 1:
        refuse([f"dvc.yaml: stage {stage} has {len(found)} modules; write exactly one, pipelines/<package>/{stage}.py"])
    module = found[0]
    refuse(stage_faults(stage, STAGES[stage], module))
    if stage not in SECTIONS:
        refuse([f"params.yaml: no section {stage}; add it, empty if nothing is to be tuned ({stage}: {{}})"])


def stage_faults(stage: str, declared: dict[str, Any], module: Source) -> Iterator[str]:
    for name in {stage, "main"} - functions(module.tree) - {target for node in module.tree.body for target in assigned(node)}:
        yield module.at(1, f"no function {name}; a stage is one pure function named like it, and a thin main")
    dotted = module.path.removesuffix(".py").replace("/", ".")
    if not re.match(rf"python -m {re.escape(dotted)}(\s|$)", declared["cmd"]):
        yield f"dvc.yaml: stage {stage} runs {declared['cmd'][:60]!r}; it must run python -m {dotted}"
    if module.path not in declared.get("deps", []):
        yield f"dvc.yaml: stage {stage} does not depend on {module.path}; a changed stage would not run again"
    if stage not in declared.get("params", []):
        yield f"dvc.yaml: stage {stage} does not depend on its section of params.yaml; add {stage} to its params"


def assigned(node: ast.stmt) -> set[str]:
    return {target.id for target in node.targets if isinstance(target, ast.Name)} if isinstance(node, ast.Assign) else set()


def test_every_section_belongs_to_somebody() -> None:
    dags = {source.stem for source in sources("dags")}
    refuse(
        f"params.yaml: section {section} is named like no stage, DAG or shared noun; rename or remove it"
        for section in sorted(SECTIONS - set(STAGES) - set(PACKAGES) - dags - NOUNS)
    )


def test_every_task_is_a_stage() -> None:
    follow(tasks_are_stages, sources("dags"))


def tasks_are_stages(source: Source) -> Iterator[str]:
    for node in nodes(source.tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            task = next((keyword(call, "task_id") for call in calls(node.value) if keyword(call, "task_id")), None)
            if task and assigned(node) and task not in assigned(node):
                yield source.at(node, f"task {task} is called {', '.join(assigned(node))} here; one name for one thing")
    for call in calls(source.tree):
        task, operator = keyword(call, "task_id"), ast.unparse(call.func).removesuffix(".partial").rpartition(".")[2]
        if task is None or task in RUN_TASKS:
            continue
        if operator == "DvcStageOperator" and task not in STAGES:
            yield source.at(call, f"task {task} is not a stage of dvc.yaml; declare the stage, or use StageOperator for what acts outside")
        if operator == "StageOperator" and (task in STAGES or PACKAGES.get(task) != keyword(call, "package")):
            yield source.at(call, f"task {task} must be a module pipelines/{keyword(call, 'package')}/{task}.py and no DVC stage")
        if operator not in ("DvcStageOperator", "StageOperator") and task not in {*STAGES, *PACKAGES}:
            yield source.at(call, f"task {task} is named like no stage; name it after the module under pipelines/ that it runs")


def test_ruff_judges_every_module() -> None:
    """It passed over every folder that is called data: an exclusion without a slash is a name at any depth."""
    judged = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--show-files", "."], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seen = {Path(line) for line in judged.stdout.splitlines()}
    refuse(f"{source.path}:1: ruff does not judge this file" for source in sources("pipelines", "tests") if ROOT / source.path not in seen)


def test_tests_mirror_the_source() -> None:
    refuse(
        f"{test.path}:1: there is no {folder} module that it tests; name it test_<module>.py after one"
        for folder in ("pipelines", "plugins", "dags")
        for test in sources(f"tests/{folder}")
        if test.stem.startswith("test_") and not any(f"{test.stem}_".startswith(f"test_{source.stem}_") for source in sources(folder))
    )


def test_no_property_test_has_a_deadline() -> None:
    """The settings of tests/pipelines/conftest.py hold below it alone."""
    refuse(
        source.at(1, "a property test outside tests/pipelines has Hypothesis' deadline of 200 ms per example; move it there")
        for source in sources("tests")
        if "hypothesis" in source.text and any(name == "hypothesis.given" for _, name in imports(source.tree))
        and not source.path.startswith("tests/pipelines/")
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ DAGs


def test_a_dag_file_holds_one_dag_of_its_name() -> None:
    follow(one_dag_a_file, sources("dags"))


def one_dag_a_file(source: Source) -> Iterator[str]:
    found = list(calls(source.tree, "DAG"))
    if len(found) != 1:
        yield source.at(1, f"{len(found)} DAGs; write one DAG a file")
    for call in found:
        dag_id = of_the_use_case(call, "dag_id")
        if dag_id != source.stem:
            yield source.at(call, f"dag_id is {dag_id!r}; write use_case.dag_id({source.stem!r}), named like the file")
        if not any(argument.arg == "doc_md" and ast.unparse(argument.value) == "__doc__" for argument in call.keywords):
            yield source.at(call, "the docstring is not shown; pass doc_md=__doc__")
        shown = str(of_the_use_case(call, "dag_display_name"))
        if not re.fullmatch(r"\d\.\d [A-Z].*", shown) or re.sub(r"[ -]", "_", shown[4:].lower()) != source.stem:
            yield source.at(
                call,
                f"dag_display_name is {shown!r}; write a number to sort by and the words of the id, such as '1.1 Nightly batch scoring'",
            )


def of_the_use_case(call: ast.Call, name: str) -> Any:
    """Return the text that the keyword `name` of `call` has made for each use case: ``"a"`` of ``use_case.dag_id("a")``; None for anything else."""
    for argument in call.keywords:
        if argument.arg == name and isinstance(argument.value, ast.Call) and ast.unparse(argument.value.func).startswith("use_case."):
            return ast.literal_eval(argument.value.args[0])
    return None


def test_the_ui_sorts_the_dags_in_the_order_of_need() -> None:
    shown = {
        str(of_the_use_case(call, "dag_display_name")): source.stem for source in sources("dags") for call in calls(source.tree, "DAG")
    }
    assert [shown[name] for name in sorted(shown)] == [
        "nightly_batch_scoring",
        "drift_monitoring",
        "drift_triggered_retraining",
        "champion_rollback",
        "champion_replay",
        "encoder_training",
        "vector_index_rebuild",
        "weekly_index_rebuild",
        "index_rollback",
    ]


def test_dags_import_only_what_authors_need() -> None:
    follow(light_dag, sources("dags"))


def light_dag(source: Source) -> Iterator[str]:
    for node, name in imports(source.tree):
        top = name.partition(".")[0]
        if (
            top in {*sys.stdlib_module_names, "nightshift_airflow", "yaml"}
            or name.startswith(("airflow.sdk.", "airflow.providers."))
            or name == "airflow.sdk"
        ):
            continue
        yield source.at(
            node, f"a DAG imports {name}; it may import airflow.sdk, airflow.providers, nightshift_airflow, yaml and the standard library"
        )


def test_the_scheduler_parses_nothing_heavy() -> None:
    follow(nothing_heavy_at_start, sources("dags", "plugins"))


def nothing_heavy_at_start(source: Source) -> Iterator[str]:
    for node, name in imports(source.tree, only_at_start=True):
        if name.partition(".")[0] in HEAVY:
            yield source.at(
                node, f"{name} is imported at module level, every few seconds by the scheduler; import it in the function that needs it"
            )
    for node, name in imports(source.tree):
        if name.partition(".")[0] == "pipelines" and not name.startswith("pipelines.lib.core."):
            yield source.at(
                node, f"{name} is imported; the core alone is quick: reach a stage through a process (DvcStageOperator, StageOperator)"
            )


# ------------------------------------------------------------------------------------------------ what a stage may do


def test_a_stage_says_what_it_reads_and_writes() -> None:
    follow(documented_stage, stage_modules())


def documented_stage(source: Source) -> Iterator[str]:
    text_of_documents = ast.get_docstring(source.tree) or ""
    for part in (("Reads",), ("Writes", "Effect"), ("Fails",)):
        if not re.search(rf"(^|\*)({'|'.join(part)})\b", text_of_documents, re.MULTILINE):
            yield source.at(
                1, f"the docstring does not tell what it {' or '.join(part)} (at the start of a line, or as *{part[0]}*); it is a contract"
            )


def test_a_stage_is_short() -> None:
    follow(short, stage_modules())


def short(source: Source) -> Iterator[str]:
    length = len(source.text.splitlines())
    if length > LONGEST_STAGE:
        yield source.at(
            LONGEST_STAGE, f"{length} lines; a stage has about a hundred, {LONGEST_STAGE} at most: move a noun to pipelines/lib"
        )


def test_a_module_is_short() -> None:
    follow(short_module, [source for source in sources(*CODE) if not source.path.startswith(("pipelines/lib/pages/figures.py", "tests/"))])


def short_module(source: Source) -> Iterator[str]:
    if (length := len(source.text.splitlines())) > LONGEST_MODULE:
        yield source.at(LONGEST_MODULE, f"{length} lines, {LONGEST_MODULE} are the most; give a part of it a module and a name of its own")


def test_no_stage_reads_a_clock() -> None:
    """Registration, promotion and the rows of the ledger and the journal happen in real time and say when; nothing else may."""
    follow(
        no_clock,
        [
            source
            for source in sources("pipelines")
            if not source.path.startswith(("pipelines/registry/", COMMAND)) and source.path != "pipelines/lib/records/database.py"
        ],
    )


def no_clock(source: Source) -> Iterator[str]:
    clocks = {"now", "today", "utcnow"}
    for call in calls(source.tree):
        if isinstance(call.func, ast.Attribute) and (call.func.attr in clocks or ast.unparse(call.func) == "time.time"):
            yield source.at(call, f"{ast.unparse(call)} reads the clock; take the partition or opened_at from run.yaml")
    for node, name in imports(source.tree):
        if name.partition(".")[0] == "uuid" and name != "uuid.UUID":  # the type, which makes none
            yield source.at(node, "uuid gives other bytes each time; derive the name from run.yaml or from a digest")


ENGINE = "pipelines/lib/tables/engine.py"


def test_a_connection_has_a_time_zone() -> None:
    """Without one, hours and dates of instants would be those of the machine."""
    follow(connections_of_the_engine, [source for source in sources(*PRODUCTION, "benchmarks", "use_cases") if source.path != ENGINE])


def connections_of_the_engine(source: Source) -> Iterator[str]:
    for call in calls(source.tree):
        if ast.unparse(call.func) in ("duckdb.connect", "duckdb.sql", "duckdb.execute", "duckdb.query"):
            yield source.at(call, f"{ast.unparse(call.func)} opens a connection without a time zone; take one of {ENGINE}")


def test_nothing_is_unpickled() -> None:
    follow(no_pickle, sources(*PRODUCTION))


def no_pickle(source: Source) -> Iterator[str]:
    """Find pickles behind the calls of other libraries. Ruff bans the modules that unpickle (``banned-api`` in pyproject.toml)."""
    for call in calls(source.tree):
        if keyword(call, "allow_pickle") is True or ast.unparse(call.func).endswith((".read_pickle", ".to_pickle")):
            yield source.at(call, f"{ast.unparse(call.func)} reads or writes a pickle: use ONNX, skops, Parquet or JSON")


# ------------------------------------------------------------------------------------------------ words


def test_nothing_is_called_utils() -> None:
    refuse(
        f"{path.relative_to(ROOT)}:1: {path.stem} says nothing about what is inside; name it after the noun that it holds"
        for folder in CODE
        for path in sorted((ROOT / folder).rglob("*"))
        if path.stem in NO_NAME and (path.suffix == ".py" or path.is_dir())
    )


def test_the_coordinate_is_the_partition() -> None:
    follow(our_words, sources(*PRODUCTION, "benchmarks"))


def our_words(source: Source) -> Iterator[str]:
    """Allow ``"logical_date": null``, which Airflow's REST API wants for a partitioned run: that literal is not a use of it."""
    tree = source.tree
    nulls = {
        id(key) for node in nodes(tree) if isinstance(node, ast.Dict) for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(value, ast.Constant) and value.value is None
    }  # fmt: skip
    for node in nodes(tree):
        names = {getattr(node, field, None) for field in ("id", "attr", "arg", "name")}
        if isinstance(node, ast.Constant) and id(node) not in nulls and isinstance(node.value, str):
            names.add(node.value)
        for word in names & NOT_OUR_WORDS:
            yield source.at(node, f"{word} is not a word of this repository; a run is for a partition (dag_run.partition_key)")


def test_every_module_says_what_it_is() -> None:
    follow(documented, sources(*CODE))


def documented(source: Source) -> Iterator[str]:
    if not ast.get_docstring(source.tree):
        yield source.at(1, "no module docstring; say in a line what this module is for")


# ------------------------------------------------------------------------------------------------ documents


def documents() -> list[Path]:
    hidden = {".venv", "var", "node_modules", ".git"}
    return sorted(
        path for path in ROOT.rglob("*.md") if not hidden & set(path.relative_to(ROOT).parts) and ".pytest_cache" not in path.parts
    )


def prose(text: str) -> list[tuple[int, str]]:
    """Return the numbered lines of a Markdown text without its code blocks."""
    inside, kept = False, []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append((number, line))
    return kept


def code(text: str) -> list[tuple[int, str]]:
    """Return the numbered pieces of code in a Markdown text: the lines of its blocks and its inline spans."""
    outside = prose(text)
    numbers = {number for number, _ in outside}
    blocks = [(number, line) for number, line in enumerate(text.splitlines(), 1) if number not in numbers]
    return blocks + [(number, span) for number, line in outside for span in re.findall(r"`([^`]+)`", line)]


def anchors(path: Path) -> set[str]:
    headings = [line.lstrip("#").strip() for _, line in prose(path.read_text(encoding="utf-8")) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    def faults() -> Iterator[str]:
        for document in documents():
            for number, line in prose(document.read_text(encoding="utf-8")):
                for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", line):
                    name, _, anchor = target.partition("#")
                    path = (document.parent / name).resolve() if name else document
                    where = f"{document.relative_to(ROOT)}:{number}"
                    if not path.exists():
                        yield f"{where}: the link {target} leads nowhere; correct it or write the page"
                    elif anchor and path.suffix == ".md" and anchor not in anchors(path):
                        yield f"{where}: {name or document.name} has no heading #{anchor}; it has {', '.join(sorted(anchors(path)))}"

    refuse(faults())


def test_commands_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    def faults() -> Iterator[str]:
        for document in documents():
            for number, piece in code(document.read_text(encoding="utf-8")):
                where = f"{document.relative_to(ROOT)}:{number}"
                for target in re.findall(r"(?:^|[;&|] *|\$ )\s*make ([a-z-]+)\b", piece):
                    if target not in targets:
                        yield f"{where}: make {target} is not a target of the Makefile; it has {', '.join(sorted(targets))}"
                for module in re.findall(r"python -m ((?:pipelines|deploy|benchmarks|use_cases)[\w.]*)", piece):
                    path = ROOT / module.replace(".", "/")
                    if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists():
                        yield f"{where}: there is no module {module}; correct the command"

    refuse(faults())


def lost_files(text: str) -> list[str]:
    """Return the source files that `text` names by their path from the root and that do not exist. Files of use cases do not count: most are examples."""
    folders = "|".join(sorted({*CODE, "docs"} - {"use_cases"}))
    named = re.findall(rf"(?<![\w/.<{{$-])((?:{folders})(?:/[\w.-]+)+\.(?:py|md|jinja))\b", text)
    return sorted({path for path in named if not (ROOT / path).exists()})


def test_files_that_a_text_names_exist() -> None:
    """A text is a document, or the docstring of a module."""

    def faults() -> Iterator[str]:
        for document in documents():
            if document.name != "CHANGELOG.md":  # it tells what was
                for path in lost_files(document.read_text(encoding="utf-8")):
                    yield f"{document.relative_to(ROOT)}: it names {path}, which does not exist; name the file that has taken its place"
        for source in sources(*CODE):
            for path in lost_files(ast.get_docstring(source.tree) or ""):
                yield source.at(1, f"the docstring names {path}, which does not exist; name the file that has taken its place")

    refuse(faults())


def test_a_file_that_is_gone_is_named() -> None:
    lost = "/".join(["tests", "nowhere", "test_nothing.py"])
    assert lost_files(f"See `{lost}`, tests/test_house.py, use_cases/shop/params.py and https://example.org/{lost}.") == [lost]


def test_every_setting_is_documented() -> None:
    text_of_documents = "\n".join(document.read_text(encoding="utf-8") for document in documents())

    def faults() -> Iterator[str]:
        for source in sources(*CODE):
            for number, line in enumerate(source.text.splitlines(), 1):
                for name in re.findall(r"[\"'{](NIGHTSHIFT_[A-Z_]+)", line):
                    if name not in text_of_documents:
                        yield source.at(
                            number, f"the environment variable {name} is documented nowhere; add it to docs/how-to/production.md"
                        )

    refuse(faults())


DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_a_sentence_with_its_reasons(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    where = path.relative_to(ROOT)
    assert re.match(r"\d{4}-[a-z0-9-]+$", path.stem), f"{where}:1: name a decision NNNN-in-a-few-words.md"
    title = re.sub(r"^#\s*(\d+[.:]?\s*)?", "", lines[0])
    assert lines[0].startswith("# "), f"{where}:1: the first line is not a title"
    assert len(title.split()) >= 4 and title[0].isupper(), f"{where}:1: the title {title!r} is not a sentence; say what was decided"
    for part in ("decided", "why", "what would change it"):
        assert any(re.match(rf"[#*\s]*{part}\b", line.lower()) for line in lines), f"{where}:1: no part {part!r}; a decision needs it"


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [path.name[:4] for path in DECISIONS]
    refuse(
        f"docs/adr/{number}: two decisions have this number; give the newer one the next"
        for number in sorted({n for n in numbers if numbers.count(n) > 1})
    )


# ------------------------------------------------------------------------------------------------ the rules bite

SAMPLES: list[tuple[Rule, str, str]] = [
    (tasks_are_stages, "dags/x.py", "a = DvcStageOperator(task_id='nowhere')"),
    (tasks_are_stages, "dags/x.py", "nowhere = DvcStageOperator.partial(task_id='nowhere').expand(shard=a.output)"),
    (tasks_are_stages, "dags/x.py", "a = DvcStageOperator.partial(task_id='train').expand(shard=b.output)"),
    (tasks_are_stages, "dags/x.py", "a = StageOperator(task_id='promote', package='scoring')"),
    (tasks_are_stages, "dags/x.py", "other = OpenRunOperator(task_id='open_run').as_setup()"),
    (tasks_are_stages, "dags/x.py", "my_task = EmptyOperator(task_id='my_task')"),
    (one_dag_a_file, "dags/x.py", "with DAG(dag_id='y', doc_md=__doc__): pass"),
    (one_dag_a_file, "dags/x.py", "with DAG(dag_id='x'): pass"),
    (one_dag_a_file, "dags/x.py", "DAG('x', doc_md=__doc__); DAG('x', doc_md=__doc__)"),
    (light_dag, "dags/x.py", "from airflow.models import DagRun"),
    (light_dag, "dags/x.py", "def task():\n    import pandas"),
    (nothing_heavy_at_start, "plugins/x.py", "try:\n    import numpy as np\nexcept ImportError:\n    pass"),
    (nothing_heavy_at_start, "plugins/x.py", "class A:\n    from mlflow import MlflowClient"),
    (nothing_heavy_at_start, "plugins/x.py", "def f():\n    from pipelines.lib.tables import dataset"),
    (documented_stage, "pipelines/data/x.py", '"""Reads   a\nWrites  b\n"""'),
    (short, "pipelines/data/x.py", "\n" * 161),
    (short_module, "pipelines/lib/tables/x.py", "\n" * 301),
    (no_clock, "pipelines/data/x.py", "import datetime as dt\ndt.datetime.now(dt.UTC)"),
    (no_clock, "pipelines/data/x.py", "import time\ntime.time()"),
    (no_clock, "pipelines/data/x.py", "from uuid import uuid4"),
    (connections_of_the_engine, "pipelines/data/x.py", "import duckdb\nduckdb.connect()"),
    (no_pickle, "pipelines/data/x.py", "frame.to_pickle('x')"),
    (no_pickle, "pipelines/data/x.py", "np.load('x', allow_pickle=True)"),
    (our_words, "plugins/x.py", "context['logical_date']"),
    (our_words, "plugins/x.py", "dag_run.logical_date"),
    (our_words, "plugins/x.py", "body = {'logical_date': partition}"),
    (documented, "pipelines/data/x.py", "x = 1"),
]

FINE: list[tuple[Rule, str]] = [
    (tasks_are_stages, "train = DvcStageOperator.partial(task_id='train', trigger_rule='none_failed').expand(shard=a.output)"),
    (
        light_dag,
        "import yaml\nfrom datetime import timedelta\nfrom airflow.sdk import DAG\nfrom airflow.providers.standard.operators.empty import EmptyOperator",
    ),
    (
        nothing_heavy_at_start,
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\ndef f():\n    import numpy\nfrom pipelines.lib.core import home",
    ),
    (our_words, "body = {'logical_date': None, 'partition_key': key}"),
    (no_clock, "import time\ntime.perf_counter()"),
]


@pytest.mark.parametrize(("rule", "path", "text"), SAMPLES, ids=lambda value: getattr(value, "__name__", None))
def test_a_rule_bites(rule: Rule, path: str, text: str) -> None:
    faults = list(rule(Source(path, text)))
    assert faults, "the rule let it pass"
    assert all(re.match(rf"{re.escape(path)}:\d+: .+", fault) for fault in faults)


SHELLS_AND_PICKLES = """
subprocess.run("ls", shell=True)
anything("ls", shell=True)
os.system("ls")
os.popen("ls")
subprocess.getoutput("ls")
subprocess.getstatusoutput("ls")
import pickle
from joblib import load
import cloudpickle.compat
def late(): import dill
import shelve as shelf
from marshal import loads
"""


@pytest.mark.parametrize(
    "path", ["pipelines/x.py", "plugins/x.py", "dags/x.py", "deploy/x.py", "scaffold/x.py", "benchmarks/x.py", "tests/x.py"]
)
def test_ruff_refuses_shells_and_pickles(path: str) -> None:
    """With the settings of pyproject.toml, which a change of `per-file-ignores` could turn off for a folder."""
    text = f"import os\nimport subprocess\n{SHELLS_AND_PICKLES}"
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select=S602,S604,S605,TID251", "--output-format=concise", "-"]
    judged = subprocess.run([*command, "--stdin-filename", path], input=text, cwd=ROOT, capture_output=True, text=True, check=False)
    found = {int(line.split(":")[1]) for line in judged.stdout.splitlines() if line.startswith(path)}
    assert found == {number for number, line in enumerate(text.splitlines(), 1) if number > 3}, judged.stdout + judged.stderr


@pytest.mark.parametrize(("rule", "text"), FINE, ids=lambda value: getattr(value, "__name__", None))
def test_a_rule_lets_good_code_pass(rule: Rule, text: str) -> None:
    assert list(rule(Source("dags/x.py", text))) == []


def test_a_stage_that_strays_is_named() -> None:
    declared = {"cmd": "python -m pipelines.data.other", "deps": [], "params": []}
    faults = list(stage_faults("mine", declared, Source("pipelines/data/mine.py", "def mine(): ...")))
    assert len(faults) == 4, faults
