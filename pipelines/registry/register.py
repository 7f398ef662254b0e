"""Log an evaluated model to MLflow and register it as a new version.

Reads   data/models/, data/reports/evaluate/ and latency.json beside it, run.yaml, dvc.lock, the git commit
Writes  data/models/registered.json: name, version, sha256 and where the file lies
Effect  an MLflow run and a registered version with its tags; the same model registered again is the version it already is
Fails   when the tree holds uncommitted changes (the version could not be rebuilt), MLflow does not answer, or gives other bytes
        back than were logged

It acts outside the workspace, so it is no DVC stage: ``python -m pipelines.registry.register``.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.lib import home, stage
from pipelines.lib.atomic import replacing
from pipelines.lib.digest import sha256_of
from pipelines.lib.errors import ConfigError
from pipelines.lib.params import read_yaml
from pipelines.lib.registry import Registered, Registry, connect, experiment_id, fetch, load_registry
from pipelines.lib.run import RunFile, load_run

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register(client: "MlflowClient", model: Path, onnx: Path, report: Path, tags: dict[str, str], params: Registry) -> Registered:
    """The version of `params.name` whose ONNX file has the digest of `onnx`: a new one, or the one that exists."""
    digest = sha256_of(onnx)
    found = client.search_model_versions(f"name = '{params.name}' and tags.sha256 = '{digest}'")
    if found:
        stage.log.info("%s version %s is this very model (sha256 %s); nothing to register", params.name, found[0].version, digest[:12])
        return _registered(client, params.name, found[0].version, digest)

    import mlflow
    import mlflow.onnx
    import mlflow.sklearn
    from onnx import load_model

    from pipelines.lib import skops_file

    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    with mlflow.start_run(experiment_id=experiment_id(client, params.experiment), run_name=tags["run_ref"], tags=tags):
        mlflow.log_params(read_yaml(Path("params.yaml"))["train"])
        mlflow.log_metrics({name: value for name, value in metrics.items() if isinstance(value, int | float)} | latency(report, digest))
        mlflow.log_artifacts(str(report), "evaluation")
        mlflow.sklearn.log_model(
            skops_file.load(model),
            name="scikit_learn",
            serialization_format="skops",
            skops_trusted_types=list(skops_file.TRUSTED),
            pip_requirements=["scikit-learn", "skops"],
        )
        logged = mlflow.onnx.log_model(load_model(onnx), name="onnx", save_as_external_data=False, pip_requirements=["onnxruntime"])
        version = mlflow.register_model(logged.model_uri, params.name, tags=tags | {"sha256": digest})
    stage.log.info("registered %s version %s (sha256 %s)", params.name, version.version, digest[:12])
    return _registered(client, params.name, version.version, digest)


def _registered(client: "MlflowClient", name: str, version: str | int, digest: str) -> Registered:
    """The version, after its file has been read back: what MLflow stored must be what was logged, wherever it stored it."""
    uri = f"{client.get_model_version_download_uri(name, str(version))}/model.onnx"
    registered = Registered(name=name, version=str(version), sha256=digest, model_uri=uri)
    with tempfile.TemporaryDirectory() as scratch:
        fetch(registered, Path(scratch) / "model.onnx")
    return registered


def latency(report: Path, digest: str) -> dict[str, float]:
    """What `evaluate` measured beside its report, if it measured this model: where DVC restored the report, nothing was measured."""
    try:
        measured = json.loads(report.with_name("latency.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {f"latency_{name}": measured[name] for name in ("p50_us", "p99_us")} if measured.get("sha256") == digest else {}


def show_card(card: Path, version: Registered) -> None:
    """Put the model card where Airflow's pages find it, `<home>/reports/models/<name>/<version>`; MLflow has it too."""
    with replacing(home.home() / "reports" / "models" / version.name / version.version / "model_card.html") as temporary:
        shutil.copyfile(card, temporary)


def lineage(run: RunFile) -> dict[str, str]:
    """What it takes to rebuild the model: every tag of a version but its digest.

    Raises `ConfigError` for uncommitted changes outside a run, which pins its own commit.
    """
    lock = read_yaml(Path("dvc.lock"))["stages"]
    commit = run.git_commit
    if not commit:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        if changed:
            raise ConfigError(f"the working tree has uncommitted changes, so a version could not be rebuilt; commit them first:\n{changed}")
        commit = _git("rev-parse", "HEAD")
    return {
        "git_commit": commit,
        "snapshot": str(run.snapshot).lower(),
        "run_ref": run.run_ref or commit,
        "partition": run.partition,
        "data_revision": _md5_of(lock, "ingest_history"),
        "dvc_lock_sha256": sha256_of(Path("dvc.lock")),
        "suite_hash": suite_hash(Path("data/reports/validate_history/report.json")),
        "requirements_sha256": sha256_of(Path("requirements.txt")),
    }


def suite_hash(report: Path) -> str:
    """The digest of what the history was held against: every expectation with its limits, without the verdicts."""
    try:
        findings = json.loads(report.read_text(encoding="utf-8"))["expectations"]
    except OSError as error:
        raise ConfigError(f"{report} cannot be read ({error.strerror}); run: dvc repro evaluate") from None
    held = json.dumps([(finding["type"], finding["kwargs"]) for finding in findings], sort_keys=True)
    return hashlib.sha256(held.encode()).hexdigest()


def _md5_of(lock: dict[str, Any], name: str) -> str:
    if name not in lock:
        raise ConfigError(f"dvc.lock has no stage {name}; run: dvc repro evaluate")
    return str(lock[name]["outs"][0]["md5"])


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@stage.stage("register", "model", "onnx", "report", "registered")
def main(paths: stage.Paths) -> None:
    version = register(connect(), paths.model, paths.onnx, paths.report, lineage(load_run()), load_registry())
    show_card(paths.report / "model_card.html", version)
    with replacing(paths.registered) as temporary:
        temporary.write_text(version.model_dump_json(indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
