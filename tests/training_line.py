"""A training line of six stages that compute almost nothing, and a recorded run of it: what a version is rebuilt from in tests."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import yaml

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.registry.replay import MODEL
from tests.stub_repository import commit_all, git

REF = "refs/runs/first_champion/one"

STAGE = """
import json, pathlib, sys, yaml
name, source, target = sys.argv[1:]
params = yaml.safe_load(open("params.yaml"))[name]
made = pathlib.Path(source).read_text() + json.dumps({name: params}) + open("salt").read()
path = pathlib.Path(target)
path.parent.mkdir(parents=True, exist_ok=True)
if name == "evaluate":
    path.mkdir()
    (path / "metrics.json").write_text(json.dumps({"auc": 0.1 + len(made) / 7, "rows": len(made), "note": "no number that MLflow has"}))
else:
    path.write_text(made)
"""

LINE = {
    "ingest_history": ("source", "data/raw/history"),
    "validate_history": ("data/raw/history", "data/reports/validate_history"),
    "featurize_history": ("data/raw/history", "data/features/history.parquet"),
    "train": ("data/features/history.parquet", "data/models/model.skops"),
    "export_onnx": ("data/models/model.skops", MODEL),
    "evaluate": (MODEL, "data/reports/evaluate"),
}


@dataclass
class Trained:
    """A repository at `path` with a recorded run `REF` of the training line, and the tags and metrics of its version."""

    path: Path
    tags: dict[str, str]
    metrics: dict[str, float]

    def changed(self, **files: str) -> dict[str, str]:
        """Return the tags, with the ref of a run that differs from the recorded one in `files` (underscores for slashes and dots)."""
        git(self.path, "checkout", "--quiet", "--detach", REF)
        for name, content in files.items():
            (self.path / name.replace("__", "/").replace("_", ".", 1)).write_text(content)
        commit = commit_all(self.path, "changed")
        git(self.path, "checkout", "--quiet", "main")
        return {**self.tags, "run_ref": commit}


def make_line(path: Path, stage: str = STAGE) -> Trained:
    """Commit a repository with a training line of six stages, each of which is the program `stage`, and record a run of it."""
    path.mkdir()
    (path / "pipelines").mkdir()
    (path / "pipelines" / "line.py").write_text(stage)
    (path / "salt").write_text("-")
    (path / "source").write_text("flights")
    (path / "params.yaml").write_text(yaml.safe_dump({name: {"depth": 8, "tolerance": 1.0e-5} for name in LINE}))
    (path / "requirements.txt").write_text(f"PyYAML=={installed('PyYAML')} \\\n    --hash=sha256:00\nmissing==1.0 ; python_version < '3'\n")
    (path / "run.yaml").write_text("partition: '2013-04-01'\n")
    (path / ".gitignore").write_text("/data/*/?*\n/failure.json\n")
    stages = {
        name: {
            "cmd": f"python -m pipelines.line {name} {source} {out}",
            "deps": ["pipelines/line.py", "salt", source],
            "params": [name],
            "outs": [out],
        }
        for name, (source, out) in LINE.items()
    }
    (path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(path)}
    git(path, "init", "--quiet", "--initial-branch", "main")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=path, check=True, env=environment)
    (path / ".gitignore").write_text("__pycache__/\n")
    commit_all(path, "code")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=path, check=True, env=environment)
    commit = git(path, "rev-parse", "HEAD")
    git(path, "checkout", "--quiet", "--detach")
    commit_all(path, "the run")
    git(path, "update-ref", REF, "HEAD")
    lock = parse_yaml((path / "dvc.lock").read_text())["stages"]
    tags = {
        "run_ref": REF,
        "git_commit": commit,
        "partition": "2013-04-01",
        "data_revision": lock["ingest_history"]["outs"][0]["md5"],
        "dvc_lock_sha256": sha256_of(path / "dvc.lock"),
        "requirements_sha256": sha256_of(path / "requirements.txt"),
        "sha256": sha256_of(path / MODEL),
    }
    metrics = json.loads((path / "data/reports/evaluate/metrics.json").read_text())
    git(path, "checkout", "--quiet", "main")
    return Trained(path, tags, {name: float(value) for name, value in metrics.items() if name != "note"} | {"latency_p50_us": 20.0})
