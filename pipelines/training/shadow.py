"""Score the last published nights with the challenger as well, and compare its scores with the champion's.

Reads   data/models/registered.json and the challenger's file in the registry, the champion that the run is pinned to, and for each night the
        features file that its run has recorded
Writes  data/reports/shadow/: report.json, report.html. The challenger's scores are compared and discarded, never published
Fails   if MLflow or DVC's cache does not answer, or if the champion's file is not the pinned one. If the challenger cannot score, the report
        has a `fault`, and `decide` refuses it. The report names a night of other features, or one that the champion cannot score, and does
        not count it

Memory is that of the largest night, for any number of nights. The stage reads nights that other runs have published, so it is not a DVC stage:
``python -m pipelines.training.shadow``.
"""

import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import Field

from pipelines.lib.challengers import agreement
from pipelines.lib.challengers.agreement import Agreement, Shadow, ShadowedNight, SkippedNight
from pipelines.lib.champions.registry import Registered, fetch
from pipelines.lib.core import stage
from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.core.params import Section, load_section, parse_section, read_yaml
from pipelines.lib.core.run import load_run
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures.tasks import BINARY
from pipelines.lib.models.decision_rule import Decided, DecisionRule
from pipelines.lib.models.inference import Model, check_fit, load_model, score_parquet
from pipelines.lib.published import nights
from pipelines.lib.tables.dataset import load_dataset


class ShadowParams(Section):
    """`nights`: the number of newest published nights that are scored."""

    nights: int = Field(ge=1)


def shadowed(
    published: Iterable[nights.PublishedNight], champion: Model, challenger: Model, rule: DecisionRule | None, scratch: Path
) -> tuple[list[ShadowedNight | SkippedNight], np.ndarray]:
    """Compare the two models night by night. The second result has both models' scores of all shadowed nights in bins [2, b].

    Raises `ModelError` if the challenger gives a score that is not a number.
    """
    found: list[ShadowedNight | SkippedNight] = []
    counts, span = np.zeros((2, agreement.BINS), dtype=np.int64), span_of(champion)
    for night in published:
        which = agreement.Night(night.partition, night.run_ref, night.model_version)
        try:  # an error here is not the challenger's fault: the night is of another declaration, or gone, or the champion fails
            nights.fetch(night.run_ref, nights.FEATURES, scratch / "features.parquet")
            for model in (champion, challenger):
                check_fit(model, signature_of_features(scratch / "features.parquet"))
            theirs = _score(champion, scratch, "the champion cannot score it: ")
        except (ModelError, DataError, ConfigError) as error:
            found.append(SkippedNight(**vars(which), skipped=str(error)))
            continue
        mine = _score(challenger, scratch)
        counts += [agreement.count(theirs, span), agreement.count(mine, span)]
        found.append(ShadowedNight(**vars(which), **vars(agreement.measure(theirs, mine, rule))))
    return found, counts


def span_of(champion: Model) -> tuple[float, float]:
    """Return the range of scores that are told apart: [0, 1], or that of the forecasts in training and as much on either side."""
    edges = champion.profile.score.binning.edges if champion.profile else None
    if champion.task is BINARY or edges is None or len(edges) < 2:
        return (0.0, 1.0)
    low, high = float(edges[0]), float(edges[-1])
    return (2 * low - high, 2 * high - low) if high > low else (low - 1, high + 1)


def _score(model: Model, scratch: Path, fault: str = "") -> np.ndarray:
    import pyarrow.parquet as pq

    try:
        score_parquet(model, scratch / "features.parquet", scratch / "scores.parquet", key=(), threshold=0.5)
    except ModelError as error:
        raise ModelError(f"{fault}{error}") from None
    scores: np.ndarray = pq.read_table(scratch / "scores.parquet", columns=["score"], page_checksum_verification=True)["score"].to_numpy()
    return scores


def note(fault: str | None, nights: Sequence[ShadowedNight | SkippedNight], overall: Agreement | None, *, decides: bool = True) -> str:
    """Return the result in one line."""
    if fault:
        return f"shadow: {fault}"
    if not nights:
        return "no night to shadow is published yet"
    skipped = [night.skipped for night in nights if isinstance(night, SkippedNight)]
    message = f"shadowed {len(nights) - len(skipped)} of {len(nights)} nights"
    if not overall:
        return f"{message}: {skipped[-1]}"
    what = "of decisions differ" if decides else "of their spread apart"
    return f"{message}: {overall.disagreement:.1%} {what}"


@stage.stage("shadow")
def main(*, registered: Path = Path("data/models/registered.json")) -> None:
    from pipelines.lib.pages import figures
    from pipelines.lib.pages import html as pages

    params, run, rule = load_section("shadow", ShadowParams), load_run(), load_section("score", Decided).threshold
    decides = load_dataset().label.task == "binary"
    version = parse_section(read_yaml(registered), Registered, registered.name)
    champion = load_model(Path(run.model.path), run.model.sha256)
    fault: str | None = None
    found: list[ShadowedNight | SkippedNight] = []
    counts = np.zeros((2, agreement.BINS), dtype=np.int64)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fetch(version, Path(scratch) / "model.onnx")
            challenger = load_model(Path(scratch) / "model.onnx", version.sha256)
            published = nights.published_nights(run.model.name, until=run.partition, count=params.nights)
            found, counts = shadowed(published, champion, challenger, rule if decides else None, Path(scratch))
        except ModelError as error:
            fault = str(error)
    overall = agreement.merge([night for night in found if isinstance(night, ShadowedNight)], counts)
    message = note(fault, found, overall, decides=decides)
    report = Shadow(run.partition, run.model.version, version.version, fault, tuple(found), overall, message)
    drawn = {f"champion {run.model.version}": counts[0], f"challenger {version.version}": counts[1]}
    label, threshold = ("score", rule.fixed) if decides else ("forecast", None)
    plot = figures.distribution(drawn, label=label, threshold=threshold, counted=True, span=span_of(champion)) if overall else ""
    page = pages.render("shadow.html", report=report, plot=plot, name=run.model.name, decides=decides)
    stage.write_report("shadow", asdict(report), page)
    stage.log.info("%s", report.note)


if __name__ == "__main__":
    sys.exit(main())
