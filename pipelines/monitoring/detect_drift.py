"""Compare the last nights with what their model learned from: count the night once, add up its window, measure.

Reads   the features and scores that the night's run recorded, data/champion/model.onnx with the profile within, the journal
Writes  data/reports/detect_drift/report.json
Effect  the night's counts and the drift of the window that ends with it are a row in the journal's `nights`; a repeat replaces it
Fails   when the model carries no profile, a column that the profile counts is gone, or the recorded files or the database cannot be read

A column has drifted where its PSI exceeds the limit of section ``govern``; whether to act is decided by the stage `govern`. A run that looks at no published night
(``night_ref`` is null in run.yaml) compares the batch of its own workspace: ``python -m pipelines.monitoring.detect_drift``.
"""

import datetime as dt
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.lib import home, nights, stage
from pipelines.lib.atomic import replacing
from pipelines.lib.drift import compare
from pipelines.lib.errors import DataError, ModelError
from pipelines.lib.governor import Policy
from pipelines.lib.histogram import Histogram, count_parquet, merge
from pipelines.lib.journal import Journal, NightRecord
from pipelines.lib.params import load_section
from pipelines.lib.profile import Profile
from pipelines.lib.run import load_run


def detect_drift(profile: Profile, tonight: Histogram, earlier: Sequence[Histogram], policy: Policy) -> dict[str, Any]:
    """The drift of the window of `earlier` nights and `tonight`, and of `tonight` alone, as the journal keeps it.

    ``rows`` and ``nights`` are the window's, ``columns`` its measures, each with the importance and noise of the profile; ``tonight``
    holds those of the night alone. ``too_few_rows`` is True where ``drifted`` is empty for lack of rows; otherwise ``drifted`` names the
    columns of the window that have, the most important first.
    """
    window = merge([*earlier, tonight])
    measured = compare(profile.binnings, profile.histogram, window, floor=profile.floor)
    alone = compare(profile.binnings, profile.histogram, tonight, floor=profile.floor) if tonight.rows else {}
    too_few = window.rows < policy.minimum_rows
    columns = {}
    for column in profile.columns:
        found = measured[column.binning.name]
        drifted = None if too_few else found.psi > policy.limit(column.noise.p95)
        columns[column.binning.name] = {
            **asdict(found),
            "importance": column.importance,
            "noise": column.noise.p95,
            "drifted": drifted,
        }
    by_importance = sorted((name for name in columns if columns[name]["drifted"]), key=lambda name: -columns[name]["importance"])
    return {
        "rows": window.rows,
        "nights": len(earlier) + 1,
        "too_few_rows": too_few,
        "drifted": by_importance,
        "columns": columns,
        "tonight": {"rows": tonight.rows, "columns": {name: asdict(found) for name, found in alone.items()}},
    }


def count_night(night_ref: str | None, profile: Profile) -> Histogram:
    """The features and scores of the run recorded at `night_ref` (None: of this workspace) in the bins of `profile`."""
    with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch:
        paths = []
        for path in (nights.FEATURES, nights.SCORES):
            paths.append(Path(path) if night_ref is None else Path(scratch) / Path(path).name)
            if night_ref is not None:
                nights.fetch(night_ref, path, paths[-1])
        features, scores = count_parquet(paths[0], profile.binnings[:-1]), count_parquet(paths[1], profile.binnings[-1:])
    if features.rows != scores.rows:
        raise DataError(
            f"the night has {features.rows} rows of features and {scores.rows} scores; they are of different runs: score it again"
        )
    return Histogram(features.rows, features.counts | scores.counts)


@stage.stage("detect_drift", report={"type": Path, "default": Path("data/reports/detect_drift"), "help": "directory of the report"})
def main(paths: stage.Paths) -> None:
    """Compare as `run.yaml` and `params.yaml` say."""
    from pipelines.lib.inference import load_model

    run, policy = load_run(), load_section("govern", Policy)
    model, name, version = load_model(Path(run.model.path), run.model.sha256), run.model.name, run.model.version
    if model.profile is None or version is None:
        raise ModelError(
            f"the model {run.model.path} {'is of no version' if version is None else f'(version {version}) carries no profile'}, so there is "
            "nothing to compare with; retrain: train, export_onnx and register give it both"
        )
    profile, journal = model.profile, Journal(home.ledger_url())
    tonight = count_night(run.night_ref, profile)
    # A version that a rollback brought back has nights of its former time as champion as well: a season ago is no part of this week.
    since = (run.date - dt.timedelta(days=2 * profile.window_nights)).isoformat()
    recorded = journal.nights(name, version, since=since, until=run.partition, count=profile.window_nights)
    earlier = [night for night in reversed(recorded) if night.partition < run.partition][: profile.window_nights - 1]
    drift = detect_drift(profile, tonight, [Histogram.from_json(night.histogram) for night in earlier], policy)
    journal.record_night(
        NightRecord(name, version, run.partition, run.night_ref or run.run_id, tonight.rows, histogram=tonight.to_json(), drift=drift)
    )
    told = {
        "partition": run.partition,
        "name": name,
        "version": version,
        "window": [*(night.partition for night in reversed(earlier)), run.partition],
        **drift,
    }
    if drift["too_few_rows"]:  # otherwise the report on the night, which says it all, has the note
        told["note"] = f"too few rows to speak of drift: {drift['rows']} in {drift['nights']} nights"
    with replacing(paths.report / "report.json") as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    stage.log.info("%d rows in %d nights; drifted: %s", drift["rows"], drift["nights"], ", ".join(drift["drifted"]) or "nothing")


if __name__ == "__main__":
    sys.exit(main())
