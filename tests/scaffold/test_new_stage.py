"""`make new-stage`, run for real in a copy of the repository: what it writes passes the checks, and a fault changes no file."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scaffold.new_stage import PAGE, NewStageError, Request, new_files
from tests.repository_copy import ROOT, copy_repository, run_in
from tests.test_makefile import lint_commands

NIGHT = "nightly_batch_scoring"
ARGUMENTS = {"name": "summarize", "package": "scoring", "dag": NIGHT, "after": "score"}


class Copy:
    """A copy of the repository, with the commands that the tests run in it."""

    def __init__(self, root: Path) -> None:
        self.root = copy_repository(root)
        self.said = ""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment in the copy."""
        return run_in(self.root, *command)

    def check(self, *command: str) -> None:
        """Run a command that must pass."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"

    def new_stage(self, **arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command of ``make new-stage`` with these arguments."""
        recipe = re.search(r"^new-stage:.*\n\t\$\(BIN\)/python (-m [\w.]+) ", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert recipe
        given = {**ARGUMENTS, **arguments}
        return self.run(sys.executable, *recipe[1].split(), *[f"--{key}={value}" for key, value in given.items()])

    def write_docstrings(self, *names: str) -> None:
        """Do the first thing that a developer does after the command: replace the lines of the template in every docstring and on the page."""
        for path in [next((self.root / "pipelines").glob(f"*/{name}.py")) for name in names] + sorted((self.root / "dags").glob("*.py")):
            text = path.read_text(encoding="utf-8")
            text = re.sub(r" Replace this line: say what the stage is for\.", "", text)
            path.write_text(
                re.sub(r"^(\* `\w+`): Replace this line\..*$", r"\1 counts its input.", text, flags=re.MULTILINE), encoding="utf-8"
            )
        page = self.root / PAGE
        page.write_text(page.read_text(encoding="utf-8").replace("Replace this cell: what the stage is for", "a count"), encoding="utf-8")

    def digest(self) -> str:
        """Return a digest of every file of the copy, except compiled ones."""
        found = hashlib.sha256()
        for path in sorted(path for path in self.root.rglob("*") if path.is_file() and not {"__pycache__", ".git"} & set(path.parts)):
            found.update(str(path).encode() + path.read_bytes())
        return found.hexdigest()


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Make a copy that no test changes."""
    return Copy(tmp_path_factory.mktemp("unchanged"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name= is missing"),
        ({"dag": ""}, "dag= is missing"),
        ({"name": "Summarize"}, "name=Summarize: not a name for a module"),
        ({"name": "sum-up"}, "name=sum-up: not a name for a module"),
        ({"name": "../../x"}, "not a name for a module"),
        ({"name": "import"}, "name=import: not a name for a module"),
        ({"name": "promote"}, "name=promote: pipelines/registry/promote.py exists"),
        ({"name": "features"}, "params.yaml has a section of this name"),
        ({"name": "champion_replay"}, "dags/champion_replay.py is a DAG"),
        ({"name": "settings"}, f"dags/{NIGHT}.py uses this name for something else"),
        ({"name": "report"}, "the code of every stage uses this name"),
        ({"package": "lib"}, "package=lib: not a package of stages; take one of data, index, monitoring, registry, scoring, training"),
        ({"package": "nowhere"}, "package=nowhere: not a package of stages"),
        (
            {"package": "use_case"},
            "package=use_case: not a package of stages; take one of data, index, monitoring, registry, scoring, training",
        ),
        ({"dag": "nowhere"}, "dag=nowhere: no DAG has this name; take one of champion_replay,"),
        ({"dag": f"dags/{NIGHT}.py"}, f"dag=dags/{NIGHT}.py: no DAG has this name; take one of champion_replay,"),
        ({"dag": "champion_replay", "after": "replay"}, "opens no workspace"),
        ({"dag": "drift_monitoring", "after": "govern"}, "no task of it is a stage of DVC"),
        ({"after": "nowhere"}, "after=nowhere: not a task that another one can follow; nightly_batch_scoring has open_run, ingest_batch,"),
        ({"after": "close_run"}, "after=close_run: not a task that another one can follow"),
        ({"after": "open_run"}, "no stage up to it writes data that could be read"),
        ({"dag": "vector_index_rebuild", "after": "embed"}, "runs once per month"),
        ({"reads": "data/evidence/evidence.parquet"}, "no stage up to score writes it; take one of data/raw/batch,"),
        ({"reads": "data/models/model.skops"}, "no stage up to score writes it"),
    ],
)
def test_a_fault_is_named(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(NewStageError, match=re.escape(message)):
        new_files(Request(**{**ARGUMENTS, **arguments}))


@pytest.mark.costly
def test_every_fault_is_named_at_once_and_no_file_changes(unchanged: Copy) -> None:
    before = unchanged.digest()
    done = unchanged.new_stage(name="No", package="nowhere", dag="neither")
    assert done.returncode == 1
    assert all(f"\n{fault}: " in done.stderr for fault in ("name=No", "package=nowhere", "dag=neither"))
    assert "Traceback" not in done.stderr
    assert unchanged.digest() == before


@pytest.mark.costly
def test_a_file_that_cannot_be_written_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy")
    (copy.root / "dags" / f".{NIGHT}.py.tmp").mkdir()  # the last one that is written
    before = copy.digest()
    done = copy.new_stage()
    assert "NOT ADDED, no file changed" in done.stderr
    assert copy.digest() == before


STAGES = [  # each kind of input, behind a gate and not, in every line that has stages of DVC
    {},
    {"name": "count_batch", "package": "data", "after": "ingest_batch"},
    {"name": "look_again", "after": "validate_scores"},
    {"name": "close_night", "after": "publish_evidence", "reads": "data/scores/scores.parquet"},
    {"name": "weigh_model", "package": "training", "dag": "drift_triggered_retraining", "after": "decide"},
    {"name": "weigh_encoder", "package": "training", "dag": "encoder_training", "after": "quantize"},
    {"name": "measure_index", "package": "index", "dag": "vector_index_rebuild", "after": "evaluate_index"},
]


def name_of(arguments: dict[str, str]) -> str:
    return arguments.get("name", "summarize")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Make a copy to which all of `STAGES` were added, one after the other."""
    copy = Copy(tmp_path_factory.mktemp("extended"))
    for arguments in STAGES:
        done = copy.new_stage(**arguments)
        assert done.returncode == 0, done.stderr
        copy.said = done.stdout
    return copy


@pytest.mark.slow
def test_new_stages_pass_the_checks_for_what_is_forgotten_and_their_own_tests(extended: Copy) -> None:
    files = ["tests/test_house.py", "tests/test_forgotten.py", "tests/test_dvc.py"]
    tests = [str(next((extended.root / "tests" / "pipelines").rglob(f"test_{name_of(one)}.py"))) for one in STAGES]
    unwritten = extended.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_forgotten.py")
    assert unwritten.returncode == 1
    named = set(re.findall(r"^E .*?AssertionError: (\S+\.py): the docstring still says", unwritten.stdout, re.MULTILINE))
    modules = {str(next((extended.root / "pipelines").glob(f"*/{name_of(one)}.py")).relative_to(extended.root)) for one in STAGES}
    assert named == modules | {f"dags/{one.get('dag', NIGHT)}.py" for one in STAGES}
    extended.write_docstrings(*map(name_of, STAGES))
    # dvc.lock is what `dvc repro` writes; the test of a whole new stage below runs it.
    extended.check(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *tests, "-k", "not dvc_lock")
    listed = "tests/test_sections.py::test_the_reference_lists_every_section_with_its_default"
    extended.check(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", listed)
    extended.check(sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    extended.check(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.costly
def test_the_command_says_what_comes_next(extended: Copy) -> None:
    """Each document and command of its last lines exists."""
    documents = re.findall(r"[\w/-]+\.md", extended.said)
    assert set(documents) >= {"CONTRIBUTING.md", "data/README.md"}
    assert [name for name in documents if not (ROOT / name).is_file()] == []
    assert "make demo then runs the stage in Airflow" in extended.said


@pytest.mark.costly
def test_only_the_new_stage_is_new(extended: Copy) -> None:
    before, after = (yaml.safe_load((root / "dvc.yaml").read_text()) for root in (ROOT, extended.root))
    assert {name: after["stages"].pop(name) for name in map(name_of, STAGES)}["look_again"]["deps"][-2:] == [
        "data/scores/scores.parquet",
        "data/reports/validate_scores/verdict.json",
    ]
    assert after == before


@pytest.mark.costly
def test_a_new_task_runs_between_its_neighbours(extended: Copy) -> None:
    text = re.sub(r"\s+", " ", (extended.root / "dags" / f"{NIGHT}.py").read_text())
    for chain in ("score >> summarize >> validate_scores", "publish_evidence >> close_night >> close_run"):
        assert chain in text
    assert "close_night >> push_run >> close_run" in text  # the last task is pushed as well
    assert "weigh_model >> push_run >> close_run" in (extended.root / "dags" / "drift_triggered_retraining.py").read_text()


@pytest.mark.slow
def test_a_new_stage_passes_lint_and_runs(tmp_path: Path) -> None:
    """The commands of ``make lint``, then what a developer does next: `dvc repro`, after which dvc.lock is complete."""
    copy = Copy(tmp_path / "copy")
    assert copy.new_stage(name="count_batch", package="data", after="ingest_batch").returncode == 0
    copy.write_docstrings("count_batch")
    commands = lint_commands((ROOT / "Makefile").read_text())
    assert len(commands) > 5
    for command in commands:
        copy.check(*command.replace("$(BIN)", str(Path(sys.executable).parent)).split())
    copy.check(sys.executable, "-m", "dvc", "repro", "count_batch")
    assert (copy.root / "data" / "reports" / "count_batch" / "report.json").is_file()
    copy.check(sys.executable, "-m", "pytest", "-q", "tests/test_dvc.py", "-k", "count_batch")
