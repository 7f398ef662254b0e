"""Rebuild a registered version from the ref of its run alone, and compare bytes and metrics with the recorded ones.

If the card of the version says that it is not reproducible to the byte, its predictions are compared in place of its bytes.

Reads   the version's tags, metrics and golden set in MLflow; from its run's ref the code, the parameters and the data revision; the raw data from
        DVC's cache or remote
Writes  data/reports/replay/: report.json and report.html
Fails   if the model (or its predictions) or a metric differs: the message names the input that differs from the record; if the ref or the raw data is gone

It needs no workspace: it makes a clone of its own, and deletes it afterwards. ``python -m pipelines.registry.replay <version>``. With ``--name``, the use case
need not exist any more.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pipelines.lib.champions import predictions as predicted
from pipelines.lib.champions.predictions import Recorded
from pipelines.lib.champions.registry import connect, load_registry
from pipelines.lib.core import home, stage
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, GateFailed
from pipelines.lib.pages import html as pages
from pipelines.lib.records.ledger import Ledger
from pipelines.lib.storage import rebuild

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
LINEAGE = ("run_ref", "git_commit", "data_revision", "dvc_lock_sha256", "requirements_sha256", "sha256")
MODEL, METRICS = "data/models/model.onnx", "data/reports/evaluate/metrics.json"


def replay(tags: Mapping[str, str], metrics: Mapping[str, float], scratch: Path, recorded: Recorded | None = None) -> rebuild.Comparison:
    """Rebuild, in `scratch`, the version that has `tags` and was logged with `metrics`; return the comparison as JSON.

    ``equal`` says whether the model is the same byte for byte and every metric is the same; ``inputs`` are the inputs of both builds. With the
    `recorded` predictions of a version that is not reproducible to the byte, equal predictions are enough.
    """
    path = scratch / "clone"
    rebuild.clone(tags["run_ref"], path)
    rebuild.restore(path)
    inputs = rebuild.inputs(path, tags)
    stopped = rebuild.execute(path)
    rebuilt = sha256_of(path / MODEL) if (path / MODEL).exists() else None
    predictions = predicted.compare(recorded, path / MODEL) if recorded and rebuilt not in (None, tags["sha256"]) else None
    same = predictions["equal"] if predictions else rebuilt == tags["sha256"]
    compared = compare_metrics(metrics, path / METRICS, predicted.METRIC_TOLERANCE if predictions else 0)
    return {
        "equal": same and all(row["equal"] for row in compared),
        "sha256": {"recorded": tags["sha256"], "rebuilt": rebuilt},
        "predictions": predictions,
        "metrics": compared,
        "inputs": [{"name": one.name, "recorded": one.recorded, "now": one.now, "equal": one.equal} for one in inputs],
        "stopped": stopped,
    }


def compare_metrics(recorded: Mapping[str, float], path: Path, tolerance: float = 0) -> list[rebuild.Metric]:
    """Compare each number of the rebuilt model's evaluation at `path` with the `recorded` one. Recorded numbers of other reports are left out.

    Numbers that differ by at most `tolerance` are the same.
    """
    try:
        rebuilt = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [{"name": "metrics.json", "recorded": None, "rebuilt": None, "equal": False}]
    names = [name for name in sorted(rebuilt) if name in recorded]
    pairs = [(name, recorded[name], rebuilt[name]) for name in names]
    return [
        {"name": name, "recorded": before, "rebuilt": now, "equal": before == now or (now is not None and abs(before - now) <= tolerance)}
        for name, before, now in pairs
    ]


def conclude(name: str, version: str, result: rebuild.Comparison) -> str:
    """Return the result in one sentence."""
    what, predictions = f"{name} version {version}", result["predictions"]
    different = [f"{one['name']} (now {one['now']}, recorded {one['recorded']})" for one in result["inputs"] if not one["equal"]]
    although = f", although these inputs differ: {'; '.join(different)}" if different else ""
    if result["equal"] and predictions:
        return (
            f"{what} was rebuilt with equal predictions, {predicted.difference_of(predictions)}, and {len(result['metrics'])} metrics are the same within "
            f"{predicted.METRIC_TOLERANCE:g}{although}; its bytes may differ: {predictions['reason']}"
        )
    if result["equal"]:
        sha256 = result["sha256"]["recorded"][:12]
        return f"{what} was rebuilt byte for byte (sha256 {sha256}), {len(result['metrics'])} metrics are the same{although}"
    outputs = []
    if predictions and not predictions["equal"]:
        outputs = [f"the predictions ({predictions['fault'] or predicted.difference_of(predictions)})"]
    elif not predictions and result["sha256"]["rebuilt"] != result["sha256"]["recorded"]:
        outputs = ["the model"]
    outputs += [row["name"] for row in result["metrics"] if not row["equal"]]
    if different:
        why = f"the inputs that differ: {'; '.join(different)}"
    elif predictions:
        why = (
            f"every recorded input is the same, and a training may give another model ({predictions['reason']}): rebuild it on the machine that trained "
            "it, or train a new version with an estimator and parameters that give the same bytes (docs/how-to/models.md)"
        )
    else:
        why = "every recorded input is the same: look at the machine and its libraries"
    stopped = f" ({result['stopped']})" if result["stopped"] else ""
    return f"{what} was NOT rebuilt the same: {', '.join(outputs)}{stopped}; {why}"


def read_version(client: "MlflowClient", name: str, version: str) -> tuple[str, dict[str, str], dict[str, float], Recorded | None]:
    """Return number, tags, metrics and recorded predictions of `version`, or of the present champion. Raises `ConfigError` if it cannot be rebuilt."""
    from mlflow.exceptions import MlflowException

    if version == CHAMPION:
        champion = Ledger(home.ledger_url()).champion(name)
        if champion is None:
            raise ConfigError(f"{name} has no champion; name a version to replay")
        version = champion.version
    try:
        found = client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise ConfigError(f"{name} has no version {version[:40]!r}; the registry lists them") from None
        raise
    if missing := [tag for tag in LINEAGE if tag not in found.tags]:
        raise ConfigError(f"{name} version {version} lacks the tags {', '.join(missing)}; it was not registered by `register`")
    if found.run_id is None:
        raise ConfigError(f"{name} version {version} has no run in MLflow; it was not registered by `register`")
    return version, dict(found.tags), dict(client.get_run(found.run_id).data.metrics), predicted.recorded_predictions(client, found.run_id)


@stage.stage("replay")
def main(
    *,
    version: Annotated[str, "'champion', or the number of a registered version"] = CHAMPION,
    name: Annotated[
        str | None, "the registered name; by default that of the use case here. It also names a use case that was removed"
    ] = None,
) -> None:
    name = name or load_registry().name
    version, tags, metrics, recorded = read_version(connect(), name, version)
    with tempfile.TemporaryDirectory(prefix="nightshift-replay-") as scratch:
        result = replay(tags, metrics, Path(scratch), recorded)
    note = conclude(name, version, result)
    report = {"name": name, "version": version, "run_ref": tags["run_ref"], "partition": tags.get("partition"), **result, "note": note}
    stage.write_report("replay", report, pages.render("replay.html", **report))
    if not result["equal"]:
        raise GateFailed(f"{note}. See {stage.REPORTS / 'replay' / 'report.html'}")
    stage.log.info("%s", note)


if __name__ == "__main__":
    named = sys.argv[1:2] and not sys.argv[1].startswith("-")
    sys.exit(main(["--version", *sys.argv[1:]] if named else None))
