"""Let the challenger score the last published nights beside the champion: what would have been different?

Reads   data/models/registered.json and the challenger's file in the registry, the champion that the run is pinned to, and of each night the
        features file that its run has recorded
Writes  data/reports/shadow/: report.json, report.html. The challenger's scores are compared and forgotten, never published
Fails   when MLflow or DVC's cache does not answer, or the champion's file is not what was pinned. A challenger that cannot score is a
        `fault` in the report, which `decide` refuses it for; a night of other features is told and not counted

It reads what other runs have published, so it is no DVC stage: ``python -m pipelines.training.shadow``.
"""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipelines.lib import nights, stage
from pipelines.lib.errors import ConfigError, DataError, ModelError
from pipelines.lib.inference import Model, check_fit, load_model, score_parquet
from pipelines.lib.params import Section, load_section, parse_section, read_yaml
from pipelines.lib.registry import Registered, fetch
from pipelines.lib.run import load_run
from pipelines.lib.signature import signature_of_features

FLOOR = 0.0001
"""Least share of a bin in the stability index of scores."""


class Shadow(Section):
    """`nights`: how many published nights are looked at, the newest ones."""

    nights: int = Field(ge=1)


class Threshold(Section, extra="ignore"):
    """What shadow needs of section ``score``: from this score on, the decision is true."""

    threshold: float


def shadow(champion: np.ndarray, challenger: np.ndarray, threshold: float) -> dict[str, Any]:
    """How far two models' scores [n] of the same rows lie apart.

    `disagreement` is the share of rows on which the decision (score >= `threshold`) differs, `correlation` Spearman's (None where one of them
    is constant), `psi` and `ks` compare the challenger's distribution of scores with the champion's.
    """
    from scipy.stats import ks_2samp, spearmanr

    from pipelines.lib import drift

    bins = drift.numeric_binning("score", champion, bins=10)
    theirs, mine = (drift.count({"score": scores}, [bins]).counts["score"] for scores in (champion, challenger))
    constant = min(np.ptp(champion), np.ptp(challenger)) == 0
    figures = {
        "champion_mean": champion.mean(dtype=np.float64),
        "challenger_mean": challenger.mean(dtype=np.float64),
        "disagreement": ((champion >= threshold) != (challenger >= threshold)).mean(),
        "psi": drift.psi(theirs, mine, floor=FLOOR),
        "ks": ks_2samp(champion, challenger, method="asymp").statistic,
    }
    correlation = None if constant else round(float(spearmanr(champion, challenger).statistic), 6)
    return {"rows": len(champion), "correlation": correlation, **{name: round(float(value), 6) for name, value in figures.items()}}


def shadowed(
    published: Iterable[nights.PublishedNight], champion: Model, challenger: Model, threshold: float, scratch: Path
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """What `shadow` finds night by night, or `skipped` with the reason; and both models' scores [2, n] of all nights that count.

    Raises `ModelError` where the challenger gives a score that is no number.
    """
    found, scores = [], [np.empty((2, 0), dtype=np.float32)]
    for night in published:
        told = {"partition": night.partition, "run_ref": night.run_ref, "scored_by": night.model_version}
        try:
            nights.fetch(night.run_ref, nights.FEATURES, scratch / "features.parquet")
            for model in (champion, challenger):
                check_fit(model, signature_of_features(scratch / "features.parquet"))
        except (ModelError, DataError, ConfigError) as error:  # not this challenger's fault: the night is of another declaration, or gone
            found.append({**told, "skipped": str(error)})
            continue
        both = np.stack([_score(model, scratch) for model in (champion, challenger)])
        scores.append(both)
        found.append({**told, **shadow(both[0], both[1], threshold)})
    return found, np.concatenate(scores, axis=1)


def _score(model: Model, scratch: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    score_parquet(model, scratch / "features.parquet", scratch / "scores.parquet", key=(), threshold=0.5)
    scores: np.ndarray = pq.read_table(scratch / "scores.parquet", columns=["score"])["score"].to_numpy()
    return scores


def note(report: dict[str, Any]) -> str:
    """The report in a line."""
    if report["fault"]:
        return f"shadow: {report['fault']}"
    if not report["nights"]:
        return "no night to shadow is published yet"
    counted = [night for night in report["nights"] if "skipped" not in night]
    told = f"shadowed {len(counted)} of {len(report['nights'])} nights"
    return told + (f": {report['overall']['disagreement']:.1%} of decisions differ" if counted else ", none has the challenger's features")


@stage.stage("shadow", registered={"type": Path, "default": Path("data/models/registered.json")})
def main(paths: stage.Paths) -> None:
    from pipelines.lib import figures, pages

    params, run, threshold = load_section("shadow", Shadow), load_run(), load_section("score", Threshold).threshold
    version = parse_section(read_yaml(paths.registered), Registered, paths.registered.name)
    champion = load_model(Path(run.model.path), run.model.sha256)
    report: dict[str, Any] = {"partition": run.partition, "champion": run.model.version, "challenger": version.version}
    report |= {"fault": None, "nights": [], "overall": None}
    scores = np.empty((2, 0))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fetch(version, Path(scratch) / "model.onnx")
            challenger = load_model(Path(scratch) / "model.onnx", version.sha256)
            published = nights.published_nights(run.model.name, until=run.partition, count=params.nights)
            report["nights"], scores = shadowed(published, champion, challenger, threshold, Path(scratch))
        except ModelError as error:
            report["fault"] = str(error)
    if scores.size:
        report["overall"] = shadow(scores[0], scores[1], threshold)
    report["note"] = note(report)
    drawn = {f"champion {run.model.version}": scores[0], f"challenger {version.version}": scores[1]}
    plot = figures.distribution(drawn, label="score", threshold=threshold) if scores.size else ""
    stage.write_report("shadow", report, pages.render("shadow.html", report=report, plot=plot, name=run.model.name))
    stage.log.info("%s", report["note"])


if __name__ == "__main__":
    sys.exit(main())
