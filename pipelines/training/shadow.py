"""Let the challenger score the last published nights beside the champion: what would have been different?

Reads   data/models/registered.json and the challenger's file in the registry, the champion that the run is pinned to, and of each night the
        features file that its run has recorded
Writes  data/reports/shadow/: report.json, report.html. The challenger's scores are compared and forgotten, never published
Fails   when MLflow or DVC's cache does not answer, or the champion's file is not what was pinned. A challenger that cannot score is a
        `fault` in the report, which `decide` refuses it for; a night of other features, or one that the champion cannot score, is told and
        not counted

Memory is that of the largest night, however many there are. It reads what other runs have published, so it is no DVC stage: ``python -m pipelines.training.shadow``.
"""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipelines.lib.challengers import agreement
from pipelines.lib.champions.registry import Registered, fetch
from pipelines.lib.core import stage
from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.core.params import Section, load_section, parse_section, read_yaml
from pipelines.lib.core.run import load_run
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.models.inference import Model, check_fit, load_model, score_parquet
from pipelines.lib.published import nights


class Shadow(Section):
    """`nights`: how many published nights are looked at, the newest ones."""

    nights: int = Field(ge=1)


class Threshold(Section, extra="ignore"):
    """What shadow needs of section ``score``: from this score on, the decision is true."""

    threshold: float


def shadowed(
    published: Iterable[nights.PublishedNight], champion: Model, challenger: Model, threshold: float, scratch: Path
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """What `agreement.measure` finds night by night, or `skipped` with the reason; and both models' scores in bins [2, b], of all that count.

    Raises `ModelError` where the challenger gives a score that is no number.
    """
    found, counts = [], np.zeros((2, agreement.BINS), dtype=np.int64)
    for night in published:
        entry = {"partition": night.partition, "run_ref": night.run_ref, "scored_by": night.model_version}
        try:  # what fails here is not this challenger's fault: the night is of another declaration, or gone, or the champion fails
            nights.fetch(night.run_ref, nights.FEATURES, scratch / "features.parquet")
            for model in (champion, challenger):
                check_fit(model, signature_of_features(scratch / "features.parquet"))
            theirs = _score(champion, scratch, "the champion cannot score it: ")
        except (ModelError, DataError, ConfigError) as error:
            found.append({**entry, "skipped": str(error)})
            continue
        mine = _score(challenger, scratch)
        counts += [agreement.count(theirs), agreement.count(mine)]
        found.append({**entry, **agreement.measure(theirs, mine, threshold)})
    return found, counts


def _score(model: Model, scratch: Path, fault: str = "") -> np.ndarray:
    import pyarrow.parquet as pq

    try:
        score_parquet(model, scratch / "features.parquet", scratch / "scores.parquet", key=(), threshold=0.5)
    except ModelError as error:
        raise ModelError(f"{fault}{error}") from None
    scores: np.ndarray = pq.read_table(scratch / "scores.parquet", columns=["score"], page_checksum_verification=True)["score"].to_numpy()
    return scores


def note(report: dict[str, Any]) -> str:
    """The report in a line."""
    if report["fault"]:
        return f"shadow: {report['fault']}"
    if not report["nights"]:
        return "no night to shadow is published yet"
    counted = [night for night in report["nights"] if "skipped" not in night]
    entry = f"shadowed {len(counted)} of {len(report['nights'])} nights"
    return entry + (f": {report['overall']['disagreement']:.1%} of decisions differ" if counted else f": {report['nights'][-1]['skipped']}")


@stage.stage("shadow")
def main(*, registered: Path = Path("data/models/registered.json")) -> None:
    from pipelines.lib.pages import figures
    from pipelines.lib.pages import html as pages

    params, run, threshold = load_section("shadow", Shadow), load_run(), load_section("score", Threshold).threshold
    version = parse_section(read_yaml(registered), Registered, registered.name)
    champion = load_model(Path(run.model.path), run.model.sha256)
    report: dict[str, Any] = {"partition": run.partition, "champion": run.model.version, "challenger": version.version}
    report |= {"fault": None, "nights": [], "overall": None}
    counts = np.zeros((2, agreement.BINS), dtype=np.int64)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fetch(version, Path(scratch) / "model.onnx")
            challenger = load_model(Path(scratch) / "model.onnx", version.sha256)
            published = nights.published_nights(run.model.name, until=run.partition, count=params.nights)
            report["nights"], counts = shadowed(published, champion, challenger, threshold, Path(scratch))
        except ModelError as error:
            report["fault"] = str(error)
    report["overall"] = agreement.merge([night for night in report["nights"] if "skipped" not in night], counts)
    report["note"] = note(report)
    drawn = {f"champion {run.model.version}": counts[0], f"challenger {version.version}": counts[1]}
    plot = figures.distribution(drawn, label="score", threshold=threshold, counted=True) if report["overall"] else ""
    stage.write_report("shadow", report, pages.render("shadow.html", report=report, plot=plot, name=run.model.name))
    stage.log.info("%s", report["note"])


if __name__ == "__main__":
    sys.exit(main())
