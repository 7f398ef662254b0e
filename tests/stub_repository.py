"""A small repository with Nightshift's plugins and DAGs and stages that compute nothing, for tests of how runs are run."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.lib.core.yaml_text import parse_yaml
from tests.dag_tasks import operators

REPOSITORY = Path(__file__).resolve().parents[1]

LINES = ("nightly_batch_scoring", "drift_monitoring", "drift_triggered_retraining", "vector_index_rebuild")
"""The DAGs whose stages the repository has. A stage that several of them run follows what comes before it in the first one."""
PACKAGES = {path.stem: path.parent.name for path in (REPOSITORY / "pipelines").glob("*/*.py") if path.parent.name != "lib"}
REAL = ("alert",)
"""With the library, these are as they are."""
CALLED = ("refuse",)
"""No task: another task calls it."""
SHARDS = ("2013-01", "2013-02", "2013-03")
SHARDED = {
    stage for stage, entry in parse_yaml((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items() if "matrix" in entry
}

# A stage writes its partition. A file <home>/behave/<stage>-<partition> changes what it does:
# "gate" fails for good, "once" fails once in a way that a retry fixes, "sleep" waits until the file is gone; what it says to decide is the verdict,
# and "retrain" is a decision that the governor may be asked for.
# "empty" is a night without rows, which is allowed.
# "fill" has the plan ask for all shards to be filled. A stage of a shard is called as DVC calls it, such as embed@2013-01.
# The stages of a retraining leave their arguments in <home>/called/<stage>-<partition>.
_STUB = """
import json, os, pathlib, sys, time
import yaml

def main(name):
    place = f"data/reports/{name}"
    if sys.argv[1:2] == ["--shard"]:
        place, name = f"data/index/{name}/{sys.argv[2]}", f"{name}@{sys.argv[2]}"
    run = yaml.safe_load(open("run.yaml"))
    home = pathlib.Path(os.environ["NIGHTSHIFT_HOME"])
    behave = home / "behave" / f"{name}-{run['partition']}"
    what = behave.read_text() if behave.exists() else ""
    print(name, "computes", flush=True)
    while what == "sleep" and behave.exists():
        time.sleep(0.05)
    if what == "once":
        behave.unlink()
    out = pathlib.Path(place)
    out.mkdir(parents=True, exist_ok=True)
    note = {"note": "945 rows, Core version 1"} if name == "publish_scores" else {}
    (out / "report.json").write_text(json.dumps({"stage": name, "partition": run["partition"], **note}))
    (out / "report.html").write_text(f"<h1>{name} {run['partition']}</h1>")
    if name == "validate_batch":
        empty = {"empty": "night 1 in a row without rows, of at most 2"} if what == "empty" else {}
        (out / "report.json").write_text(json.dumps({"stage": name, "partition": run["partition"], **empty}))
        (out / "verdict.json").write_text(json.dumps({"gate": name, "partition": run["partition"], "passed": True, "rows": 0 if empty else 945}))
    if name == "publish_empty_night":
        (out / "report.json").write_text(json.dumps({"note": "night 1 in a row without rows, of at most 2"}))
    if name == "govern":
        told = {"retrain": what == "retrain", "reason": "the test asked for it", "findings": [], "champion_version": run["model"].get("version")}
        (out / "decision.json").write_text(json.dumps({**told, "name": run["model"]["name"], "partition": run["partition"]}))
    if name == "plan_index":
        plan = pathlib.Path("data/index/plan/plan.json")
        plan.parent.mkdir(parents=True, exist_ok=True)
        plan.write_text(json.dumps({"fill": run["shards"] if what == "fill" else []}))
    if name == "decide":
        verdict = what if what in ("ask", "refuse") else "promote"
        decision = {"verdict": verdict, "reasons": [f"it says {verdict}"], "table": {"lead": "On 10 rows.", "columns": ["", "champion", "challenger"], "rows": [["AUC", "0.70", "0.71"]]}}
        (out / "decision.json").write_text(json.dumps(decision))
    if name in ("promote", "refuse", "verify", "publish_index") and what not in ("gate", "once"):
        called = home / "called" / f"{name}-{run['partition']}"
        called.parent.mkdir(exist_ok=True)
        called.write_text(json.dumps(sys.argv[1:]))
    if what in ("gate", "once"):
        failure = {"stage": name, "error": "GateFailed", "message": "column carrier: 3 nulls", "retryable": what == "once"}
        pathlib.Path(os.environ["NIGHTSHIFT_FAILURE_FILE"]).write_text(json.dumps(failure))
        sys.exit(1)
    if name == "publish_scores":
        published = home / "published"
        published.mkdir(parents=True, exist_ok=True)
        (published / run["partition"]).write_text(run.get("run_id", ""))
"""

_PIN_RUN = """
import argparse, json, os, pathlib, sys, yaml
parser = argparse.ArgumentParser()
for option in ("partition", "dag-id", "run-id", "run-ref", "git-commit", "opened-at"):
    parser.add_argument("--" + option, required=True)
parser.add_argument("--snapshot", action="store_true")
parser.add_argument("--model")
parser.add_argument("--scored", action="store_true")
parser.add_argument("--expect", default="")
parser.add_argument("--index", action="store_true")
parser.add_argument("--rebuild", default="auto")
options = parser.parse_args()
if options.expect not in ("", "1"):
    failure = {"stage": "pin_run", "error": "LedgerConflict", "message": f"the run is about version {options.expect}", "retryable": False}
    pathlib.Path(os.environ["NIGHTSHIFT_FAILURE_FILE"]).write_text(json.dumps(failure))
    sys.exit(1)
if yaml.safe_load(open("run.yaml")).get("run_id") != options.run_id:
    model = {"path": "data/model.onnx", "name": "Core", "version": "1"}
    shards = yaml.safe_load(open("run.yaml"))["shards"]
    pathlib.Path("run.yaml").write_text(yaml.safe_dump({**vars(options), "model": model, "shards": shards}))
"""


def make_stub_repository(
    path: Path, *, with_airflow: bool = False, use_cases: Mapping[str, Mapping[str, Any]] | None = None, examples: Sequence[str] = ()
) -> Path:
    """Return a committed git and DVC repository at `path`; with_airflow adds plugins/ and dags/ as they are.

    `use_cases` are declarations by name; `examples` are names of use cases that ship, with the files that they ship with.
    """
    path.mkdir(parents=True)
    stages: dict[str, dict[str, object]] = {}
    for dag_id in LINES:
        previous = None
        for stage, operator in operators(dag_id).items():
            if operator == "StageOperator":  # it has an effect outside its workspace, and so is not a stage of DVC
                _write_module(path, stage)
            if operator != "DvcStageOperator":
                continue
            out = f"data/index/{stage}" if stage in SHARDED else f"data/reports/{stage}"
            if stage not in stages:
                stages[stage] = _stage(_write_module(path, stage), stage, previous, out)
            # No shard may be filled: then what comes next depends on what came before.
            previous = "data/reports/plan_index" if stage == "fill_shard" else out
    for stage in CALLED:
        _write_module(path, stage)
    (path / "pipelines" / "stub.py").write_text(_STUB)
    shutil.copytree(REPOSITORY / "pipelines" / "lib", path / "pipelines" / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for stage in REAL:
        shutil.copy(REPOSITORY / "pipelines" / PACKAGES[stage] / f"{stage}.py", path / "pipelines" / PACKAGES[stage])
    (path / "pipelines" / "registry").mkdir(exist_ok=True)
    (path / "pipelines" / "registry" / "pin_run.py").write_text(_PIN_RUN)
    (path / "dvc.yaml").write_text(yaml.safe_dump({"vars": ["run.yaml"], "stages": stages}, sort_keys=False))
    run = {"partition": "2013-01-01", "model": {"path": "data/model.onnx", "name": "Core"}, "shards": list(SHARDS)}
    (path / "run.yaml").write_text(yaml.safe_dump(run))
    (path / ".gitignore").write_text("/var/\n/failure.json\n__pycache__/\n")
    (path / ".dvc").mkdir()
    (path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (path / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    shutil.copy(REPOSITORY / "params.yaml", path)
    shutil.copy(REPOSITORY / "pipelines" / "defaults.yaml", path / "pipelines")
    for name, declared in (use_cases or {}).items():
        (path / "use_cases" / name).mkdir(parents=True)
        (path / "use_cases" / name / "params.yaml").write_text(yaml.safe_dump(declared))
    for name in examples:
        (path / "use_cases" / name).mkdir(parents=True)
        for file in (REPOSITORY / "use_cases" / name).glob("*.yaml"):
            shutil.copy(file, path / "use_cases" / name)
    if with_airflow:
        for part in ("plugins", "dags", "docs/runbooks"):
            shutil.copytree(REPOSITORY / part, path / part, ignore=shutil.ignore_patterns("__pycache__"))
    git(path, "init", "--quiet", "--initial-branch", "main")
    commit_all(path, "start")
    return path


def _write_module(path: Path, stage: str) -> str:
    """Write the module of a stage that computes nothing; return its path below the repository at `path`."""
    module = f"pipelines/{PACKAGES[stage]}/{stage}.py"
    (path / module).parent.mkdir(parents=True, exist_ok=True)
    (path / module).write_text(f"from pipelines.stub import main\nmain({stage!r})\n")
    return module


def _stage(module: str, stage: str, previous: str | None, out: str) -> dict[str, object]:
    """Return the entry of a stage in ``dvc.yaml``, which depends on its module and on the output of the stage before it."""
    cmd = f"python -m {module.removesuffix('.py').replace('/', '.')}"
    entry: dict[str, object] = {
        "cmd": cmd,
        "deps": [module, *([previous] if previous else [])],
        "params": [{"run.yaml": ["partition"]}],
        "outs": [out, *(["data/index/plan"] if stage == "plan_index" else [])],
    }
    if stage in SHARDED:
        return {"matrix": {"shard": "${shards}"}, **entry, "cmd": f"{cmd} --shard ${{item.shard}}", "outs": [f"{out}/${{item.shard}}"]}
    return entry


def git(path: Path, *arguments: str) -> str:
    """Run git in `path`, as somebody with an identity; return its output."""
    command = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@localhost", *arguments]
    return subprocess.run(command, cwd=path, check=True, capture_output=True, text=True).stdout.strip()


def commit_all(path: Path, message: str) -> str:
    """Commit everything in `path`; return the commit."""
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "-m", message)
    return git(path, "rev-parse", "HEAD")
