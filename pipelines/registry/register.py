"""Log an evaluated model or encoder to MLflow and register it as a new version.

Reads   data/models/, data/reports/evaluate/ and latency.json next to it, run.yaml, dvc.lock, the git commit;
        for an encoder (``--encoder``) its file and data/reports/evaluate_encoder/
Writes  data/models/registered.json: name, version, sha256 and location of the file; data/reports/register/report.json
Effect  an MLflow run with the data revision as its input, and a registered version with its signature, tags and model card; the alias
        `challenger`, if another version is champion. The same model registered again is the version that exists
Fails   if the model was not evaluated, did not pass, or keeps tensors or operators outside its file; if the tree has uncommitted changes (the
        version could not be rebuilt); if MLflow does not answer, or returns other bytes than were logged

It acts outside the workspace, so it is not a DVC stage: ``python -m pipelines.registry.register``.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pipelines.lib.challengers import model_card
from pipelines.lib.challengers.decision import require_sound
from pipelines.lib.challengers.evaluation import as_trained, read_evaluation, tags_of_training
from pipelines.lib.champions.lineage import lineage, selection, selection_of_encoder
from pipelines.lib.champions.logged import history_of, signature_of
from pipelines.lib.champions.registry import Registered, Registry, connect, experiment_id, fetch, load_registry
from pipelines.lib.core import home, stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError, ModelError
from pipelines.lib.core.params import flattened, read_params
from pipelines.lib.core.run import load_run
from pipelines.lib.encoders import evaluation as encoders
from pipelines.lib.models import costs, onnx_file
from pipelines.lib.records.ledger import Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register(client: "MlflowClient", model: Path | None, onnx: Path, report: Path, tags: dict[str, str], params: Registry) -> Registered:
    """Return the version whose ONNX file has the digest of `onnx`: a new one, or the one that exists.

    With scikit-learn's `model`, which is kept with the version, the name is `params.name`. Without it, the version is an encoder with the name
    `params.encoder`. Raises `GateFailed` unless `report` says that this file is sound, and `ModelError` if the file needs other files.
    """
    name, section, gate = (params.name, "train", "evaluate") if model else (params.encoder, "train_encoder", "evaluate_encoder")
    content = onnx.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    judged = read_evaluation(report / "evaluation.json") if model else encoders.read_evaluation(report / "evaluation.json")
    require_sound(judged, report, digest, gate)
    proto = onnx_file.parse_model(content, onnx)
    found = client.search_model_versions(f"name = '{name}' and tags.sha256 = '{digest}'")
    if found:
        stage.log.info("%s version %s is the same model (sha256 %s); nothing to register", name, found[0].version, digest[:12])
        return _registered(client, name, found[0].version, digest)

    import mlflow
    import mlflow.onnx
    import mlflow.sklearn

    from pipelines.lib.models import estimators, skops_file

    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    with mlflow.start_run(experiment_id=experiment_id(client, params.experiment), run_name=tags["run_ref"], tags=tags):
        mlflow.log_params(flattened(as_trained(read_params(), section, tags.get("search"))))
        mlflow.log_input(history_of(tags), context="training")
        mlflow.log_artifacts(str(report), "evaluation")
        if model:
            trained = skops_file.load(model)
            mlflow.sklearn.log_model(
                trained,
                name="scikit_learn",
                serialization_format="skops",
                skops_trusted_types=list(skops_file.TRUSTED),
                pip_requirements=["scikit-learn", "skops", *estimators.libraries_of(trained)],
            )
        logged = mlflow.onnx.log_model(
            proto, name="onnx", save_as_external_data=False, pip_requirements=["onnxruntime"], signature=signature_of(proto)
        )
        figures = {name: value for name, value in metrics.items() if isinstance(value, int | float)} | latency(report, digest)
        mlflow.log_metrics(figures, model_id=logged.model_id)  # of the ONNX file, which production runs, not of scikit-learn's
        version = mlflow.register_model(logged.model_uri, name, tags=tags | {"sha256": digest})
    stage.log.info("registered %s version %s (sha256 %s)", name, version.version, digest[:12])
    return _registered(client, name, version.version, digest)


def _registered(client: "MlflowClient", name: str, version: str | int, digest: str) -> Registered:
    """Return the version, after reading its file back: MLflow must have stored the bytes that were logged, wherever it stores them."""
    uri = f"{client.get_model_version_download_uri(name, str(version))}/model.onnx"
    registered = Registered(name=name, version=str(version), sha256=digest, model_uri=uri)
    with tempfile.TemporaryDirectory() as scratch:
        fetch(registered, Path(scratch) / "model.onnx")
    return registered


def latency(report: Path, digest: str) -> dict[str, float]:
    """Return the measurements that `evaluate` wrote next to its report, if they are of this model: none if DVC restored the report."""
    found = costs.read(report.with_name("latency.json"), "challenger", digest)
    if found is None:
        return {}
    return {"latency_p50_us": found.p50_us, "latency_p99_us": found.p99_us, "memory_mib": found.memory_mib, "size_mib": found.size_mib}


def challenge(client: "MlflowClient", ledger: Ledger, version: Registered) -> None:
    """Give `version` the alias `challenger`, unless it is the champion or there is no champion."""
    champion = ledger.champion(version.name)
    if champion and champion.version != version.version:
        client.set_registered_model_alias(version.name, "challenger", version.version)


def show_card(client: "MlflowClient", version: Registered, report: Path, *, encoder: bool = False) -> None:
    """Write the version's model card to `<home>/reports/models/<name>/<version>`, where Airflow's pages read it, and to its MLflow run.

    An encoder's card is the page of its evaluation. An existing card is not replaced: a version that is registered again was compared with the
    champion of another day, but is the same model.
    """
    target = home.home() / "reports" / "models" / version.name / version.version / "model_card.html"
    if target.exists():
        return
    found = client.get_model_version(version.name, version.version)
    if encoder:
        card = (report / "report.html").read_text(encoding="utf-8")
    else:
        evaluation = read_evaluation(report / "evaluation.json")
        require_sound(evaluation, report, version.sha256)
        tags = {name: value for name, value in found.tags.items() if name != "sha256"}
        card = model_card.render(evaluation, lineage=tags, facts={"version": version.version, **latency(report, version.sha256)})
    if found.run_id is None:
        raise ModelError(
            f"{version.name} version {version.version} has no run in MLflow that could hold its card; register the model again"
        )
    client.log_text(found.run_id, card, "model_card.html")
    with replacing(target) as temporary:
        temporary.write_text(card, encoding="utf-8")


@stage.stage("register")
def main(
    *,
    report: Path,
    registered: Path,
    model: Annotated[Path | None, "model.skops, together with --onnx"] = None,
    onnx: Annotated[Path | None, "model.onnx, which was exported from --model"] = None,
    encoder: Annotated[Path | None, "encoder.onnx, instead of --model and --onnx"] = None,
) -> None:
    exported = encoder or onnx
    if exported is None or bool(encoder) == bool(model) or bool(model) != bool(onnx):
        raise ConfigError("the arguments do not name one file to register; give --model and --onnx, or --encoder")
    tags = lineage(load_run()) | (selection_of_encoder(exported) if encoder else selection(exported) | tags_of_training(report))
    client = connect()
    version = register(client, model, exported, report, tags, load_registry())
    challenge(client, Ledger(home.ledger_url()), version)
    show_card(client, version, report, encoder=bool(encoder))
    with replacing(registered) as temporary:
        temporary.write_text(version.model_dump_json(indent=2), encoding="utf-8")
    stage.write_report("register", {"note": f"registered version {version.version}", "name": version.name, "version": version.version})


if __name__ == "__main__":
    sys.exit(main())
