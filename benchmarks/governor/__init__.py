"""Does the governor see shifts, and is it quiet otherwise? Simulated years of nights, drawn from real flights.

The flights of half a year are split by nights: every other night is what a forest of the shipped parameters and its profile learn from, the
others are the *pool*. Nothing moves between the two, so a year of nights drawn from the pool is stationary, and each retraining in it is
false. A shifted year turns, on a random night, into one of

* ``feature``: flights drawn so that one of the three most important features has a PSI of `SHIFTED_PSI` in the profile's own bins;
* ``concept``: outcomes swapped at random until the AUC falls by `COST`; no feature moves;
* ``season``: flights of 2013-10-14 to 2013-11-10, on which the forest of January to June loses about as much.

A night has `ROWS` flights, drawn one by one: that is the primary world, whose keys have no suffix. In the other, ``whole_nights``, real nights
are drawn, each with its own weather, a Monday from the Mondays: windows then differ far more, and the same policy must not storm there.

All is counted in the profile's bins, and decided by `govern` with the shipped policy; quality is known `label.delay_days` + 1 nights later. Each year
draws a holdout of its own, of `train.holdout_days` nights. After a retraining the champion stays, as if the challenger had been refused.
The delay counts the nights of the new world that were scored when the governor said yes. The policy was tuned with seeds below `SEED`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.flights_of_2013 import features_of_2013, section
from benchmarks.governor.worlds import Flights, Floats, Ints, WholeNights, day
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import read_history
from pipelines.lib.loop.champion_history import History as Recorded
from pipelines.lib.loop.champion_history import Measure, Night, Outcome, Promotion, Reference, Retraining
from pipelines.lib.loop.governor import govern
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.models.profile import SCORE
from pipelines.lib.tables.dataset import Dataset

YEARS = 250
"""Stationary years a world, and shifted years a shift."""

SEED = 1_000
NIGHTS = 365
WITHIN = 7
FOLLOWED = 28
"""Nights for which a shifted year goes on, if nothing is seen."""

LIVE: Sequence[Promotion] = (Promotion(1, "2012-01-01", "1"),)

TARGETS = {
    "false_retrains_per_year": ("<=", 1.0),
    "detected_within_7": (">=", 0.95),
    "false_retrains_per_year_whole_nights": ("<=", 1.0),
}


def main() -> dict[str, Any]:
    """Simulate both worlds, each with its stationary and its shifted years."""
    dataset, features = section("dataset", Dataset), section("features", Features)
    with tempfile.TemporaryDirectory() as name:
        year = read_history(features_of_2013(dataset, features, Path(name)), dataset)
    figures: dict[str, Any] = {"stationary_years": YEARS}
    for suffix, world in (("", Flights), ("_whole_nights", WholeNights)):
        simulated = figures_of(world(year, dataset, features), section("govern", Policy), YEARS, SEED)
        figures |= {f"{key}{suffix}": value for key, value in simulated.items()}
    return figures


def figures_of(world: Flights, policy: Policy, years: int, seed: int) -> dict[str, Any]:
    """Count the false retrainings in stationary years, and measure how soon each shift is found."""
    rng = np.random.default_rng(seed)
    false = [year_of(world, rng, policy, NIGHTS, "") for _ in range(years)]
    delays: dict[str, list[int]] = {}
    for shift in (*world.weights, "concept", "season"):
        onsets = rng.integers(WITHIN, NIGHTS - FOLLOWED, size=years)
        seen = [[night - onset + 1 for night in year_of(world, rng, policy, onset, shift) if night >= onset] for onset in onsets.tolist()]
        delays[shift] = [min(found, default=NIGHTS) for found in seen]
    every = np.concatenate(list(delays.values()))
    return {
        "shifted_years": len(every),
        "false_retrains_per_year": round(float(np.mean([len(found) for found in false])), 3),
        "years_without_false_retraining": round(float(np.mean([not found for found in false])), 3),
        "detected_within_7": round(float(np.mean(every <= WITHIN)), 3),
        "median_delay_nights": float(np.median(every)),
        "shifts": {
            shift: {
                "detected_within_7": round(float(np.mean(np.array(found) <= WITHIN)), 3),
                "median_delay_nights": float(np.median(found)),
                **world.size(shift),
            }
            for shift, found in delays.items()
        },
    }


def year_of(world: Flights, rng: np.random.Generator, policy: Policy, onset: int, shift: str) -> list[int]:
    """Return the nights on which the governor says yes in a year that turns at `onset`; without a shift it is `onset` nights long."""
    _, areas, _ = world.draw(rng, 0, world.params.holdout_days, "")
    quality = world.profile.quality
    assert quality is not None
    assert quality.night_quality_std is not None
    reference = Reference(float(areas.mean()), quality.night_quality_std, len(areas))
    spans = [world.draw(rng, 0, onset, "")] + ([world.draw(rng, onset, FOLLOWED, shift)] if shift else [])
    counts, areas, rows = (np.concatenate(part) for part in zip(*spans, strict=True))
    nights, outcomes = windows_of(world, counts), outcomes_of(areas, rows)
    hidden = world.dataset.label.delay_days + 1
    retrainings: list[Retraining] = []
    said: list[int] = []
    for index in range(len(nights)):
        # Nights before the last retraining do not count, and it is faster without them.
        since = max(policy.alarm_window_nights, policy.quality_nights + hidden, index - said[-1] + policy.quality_nights if said else 0)
        known = outcomes[max(0, index + 1 - since) : max(0, index + 1 - hidden)]
        decision = govern(
            Recorded("simulated", day(index), "1", LIVE, nights[max(0, index + 1 - since) : index + 1], known, retrainings, reference),
            policy,
        )
        if decision.retrain:
            retrainings.append(Retraining(day(index), "1", tuple(decision.findings["signals"])))
            said.append(index)
            if shift and index >= onset:
                break
    return said


def windows_of(world: Flights, counts: Ints) -> list[Night]:
    """Return the record of `detect_drift` for each night: the PSI of the window that ends with it, in the form of the governor."""
    total = np.concatenate([np.zeros((1, counts.shape[1]), dtype=np.int64), np.cumsum(counts, axis=0)])
    ends = np.arange(1, len(total))
    starts = np.maximum(ends - world.profile.window_nights, 0)
    windows = total[ends] - total[starts]
    values = world.psi(windows)
    rows = windows[:, world.starts[0] : world.starts[1]].sum(axis=1)
    columns = [(column.binning.name, column.noise.p95, column.importance) for column in world.profile.columns]
    found = []
    for index in range(len(counts)):
        measures = {
            name: Measure(value, noise, importance)
            for (name, noise, importance), value in zip(columns, values[index].tolist(), strict=True)
        }
        score = measures.pop(SCORE)
        found.append(Night(day(index), "1", int(rows[index]), int(ends[index] - starts[index]), measures, score))
    return found


def outcomes_of(areas: Floats, rows: Ints) -> list[Outcome]:
    """Return the record of `measure_performance` for each night."""
    return [Outcome(day(index), "1", int(n), float(auc)) for index, (auc, n) in enumerate(zip(areas, rows, strict=True))]
