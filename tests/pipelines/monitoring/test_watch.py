"""The watch over a fresher champion: a clear loss rolls it back once, and any other end of a watch is reported and changes nothing."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.lib.champions.registry import connect, roll_back
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.params import read_yaml
from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.records.journal import Verdict
from pipelines.lib.records.ledger import Entry
from pipelines.monitoring.govern import retrainings_of
from pipelines.monitoring.watch import main
from tests import scored_night
from tests.registered_models import NAME, REF, ROWS, Installation, change_score

pytestmark = pytest.mark.costly

FIRST = dt.date(2013, 4, 1)
DATASET = {
    "name": "made",
    "source": {"kind": "parquet", "path": "events.parquet"},
    "key": list(scored_night.ORDER),
    "event_time": "at",
    "label": {"name": "is_late", "expression": "late", "delay_days": 1},
    "columns": {
        "carrier": {"type": "string"},
        "flight": {"type": "integer"},
        "origin": {"type": "string"},
        "scheduled_departure": {"type": "timestamp"},
        "at": {"type": "timestamp"},
        "late": {"type": "boolean", "nulls": 1},
    },
    "known_later": ["late"],
}


def day(number: int) -> str:
    return (FIRST + dt.timedelta(days=number)).isoformat()


class Watched:
    """Version 2 has replaced version 1 because it is fresher. `good` is the version whose scores fit the outcomes: the other's are contrary."""

    def __init__(self, installation: Installation, good: str) -> None:
        self.installation, self.ledger, self.journal = installation, installation.ledger, installation.journal
        bad = "1" if good == "2" else "2"
        file = Path(installation.versions[bad].model_uri)
        change_score(file, file)
        installation.versions[bad] = installation.versions[bad].model_copy(update={"sha256": sha256_of(file)})
        params = read_yaml(Path("params.yaml"))
        params["dataset"] = DATASET
        params["decide"] |= {"unclear": "fresher", "watch_nights": 6}
        Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        installation.promoted("1")
        self.promote("2")
        self.deliver(40)

    def promote(self, version: str, live_from: int = 0, basis: str = "fresher") -> None:
        """Promote `version`, as a retraining does that `decide` has let pass."""
        champion, made = self.ledger.champion(NAME), self.installation.versions[version]
        assert champion is not None
        decision = {"partition": "2013-03-31", "basis": basis}
        evidence = {"run_ref": "refs/runs/retraining/r", "decision": decision}
        where = (made.version, made.sha256, made.model_uri, champion.version, day(live_from), "decide", "fresher", evidence)
        self.ledger.append(Entry(NAME, champion.sequence + 1, "promote", *where))
        self.journal.record_verdict(
            Verdict(NAME, f"run-{version}", "2013-03-31", champion.version, version, "promoted", "fresher", "decide")
        )

    def deliver(self, days: int, unknown: tuple[int, ...] = ()) -> None:
        """Write the outcomes of `days` days, which a true model predicts; those of the days `unknown` have not come."""
        night = scored_night.features_table(ROWS)
        noise = np.random.default_rng(3)
        tables = []
        for number in range(days):
            late = (night["a"].to_numpy() + noise.normal(0, 0.5, ROWS) > 0).tolist()
            at = pa.array([dt.datetime.combine(FIRST + dt.timedelta(days=number), dt.time(8))] * ROWS, pa.timestamp("us"))
            known = pa.array([None] * ROWS if number in unknown else late, pa.bool_())
            tables.append(
                night.select(list(scored_night.ORDER)).replace_schema_metadata(None).append_column("at", at).append_column("late", known)
            )
        pq.write_table(pa.concat_tables(tables), "events.parquet")

    def publish(self, *numbers: int, version: str = "2") -> None:
        for number in numbers:
            self.installation.publish(version, day(number))

    def watch(self, number: int) -> dict[str, Any]:
        """Run the stage as of the night `number`, and return its report."""
        pinned = PinnedModel(path="data/champion/model.onnx", name=NAME, version="2", sha256=self.installation.versions["2"].sha256)
        save_run(RunFile(partition=day(number), model=pinned, dag_id="drift_monitoring", run_id=f"night-{number}", night_ref=REF))
        assert main([]) == 0
        return dict(json.loads(Path("data/reports/watch/report.json").read_text(encoding="utf-8")))

    def champion(self) -> str:
        entry = self.ledger.champion(NAME)
        assert entry is not None
        return entry.version


@pytest.fixture
def losing(installation_of_three: Installation) -> Watched:
    return Watched(installation_of_three, good="1")


@pytest.fixture
def winning(installation_of_three: Installation) -> Watched:
    return Watched(installation_of_three, good="2")


def test_a_clear_loss_rolls_back_by_itself_and_a_rerun_changes_nothing(losing: Watched) -> None:
    losing.publish(*range(7))
    report = losing.watch(6)
    assert report["note"].startswith("ROLLED BACK to version 1, live from 2013-04-08: a clear loss on 5 of 6 nights: its log loss less ")
    entry = losing.ledger.champion(NAME)
    assert entry is not None
    assert (entry.version, entry.action, entry.actor) == ("1", "rollback", "watch")
    assert losing.installation.aliases() == {"champion": "1", "previous": "2"}
    assert connect().get_model_version(NAME, "2").tags["rolled_back"] == entry.reason
    verdicts = losing.journal.verdicts(NAME)
    assert [(row.verdict, row.actor, row.challenger) for row in verdicts] == [("promoted", "decide", "2"), ("rolled_back", "watch", "2")]
    assert len(retrainings_of(verdicts, [])) == 1  # a rollback is not another retraining
    assert losing.watch(6)["note"].startswith("ROLLED BACK to version 1")
    assert losing.journal.verdicts(NAME) == verdicts
    assert len(losing.ledger.history(NAME)) == 3
    assert "the watch of version 2 ended: watch rolled back to version 1" in losing.watch(5)["finding"]


def test_a_better_champion_stays_and_its_watch_ends(winning: Watched) -> None:
    winning.publish(*range(14))
    assert "no clear loss on 5 of 6 nights" in winning.watch(6)["note"]
    assert "no clear loss on 6 of 6 nights" in winning.watch(11)["note"]
    assert winning.watch(13)["finding"] == "the watch of version 2 is over"
    assert winning.champion() == "2"


def test_a_few_nights_prove_nothing(losing: Watched) -> None:
    losing.publish(*range(4))
    assert "no clear loss on 2 of 6 nights" in losing.watch(3)["note"]
    assert losing.champion() == "2"


def test_outcomes_that_come_late_count_when_they_come(losing: Watched) -> None:
    losing.deliver(40, unknown=tuple(range(2, 40)))
    losing.publish(*range(9))
    assert "no clear loss on 2 of 6 nights" in losing.watch(8)["note"]
    losing.deliver(40)
    assert losing.watch(8)["note"].startswith("ROLLED BACK to version 1")


def test_no_outcome_at_all_is_not_called_a_result(losing: Watched) -> None:
    losing.deliver(40, unknown=tuple(range(40)))
    losing.publish(*range(8))
    assert losing.watch(7)["note"].endswith("0 of 6 nights have outcomes")
    assert losing.champion() == "2"


@pytest.mark.parametrize("how", ["file", "registry"])
def test_a_former_champion_that_is_gone_ends_the_watch(losing: Watched, how: str) -> None:
    losing.publish(*range(8))
    if how == "file":
        Path(losing.installation.versions["1"].model_uri).unlink()
    else:
        connect().delete_model_version(NAME, "1")
    report = losing.watch(7)
    assert report["note"].startswith(f"the watch of version 2 ended without a result: {NAME} version 1")
    assert losing.champion() == "2"


def test_a_rollback_by_hand_ends_the_watch(losing: Watched) -> None:
    losing.publish(*range(8))
    first, second = losing.ledger.history(NAME)
    roll_back(losing.ledger, first, second, actor="ada", reason="I know better")
    assert losing.watch(7)["finding"] == "the watch of version 2 ended: ada rolled back to version 1 (I know better)"
    assert len(losing.ledger.history(NAME)) == 3


def test_a_second_promotion_starts_a_watch_of_its_own(losing: Watched) -> None:
    losing.publish(*range(8))
    losing.promote("3", live_from=8)
    assert losing.watch(7)["finding"] == "nothing to watch yet: version 3 is live from 2013-04-09"
    losing.publish(8, version="3")
    assert losing.watch(9)["note"].startswith("watch of version 3 against version 2: 0 of 6 nights")
    assert losing.champion() == "3"


def test_a_better_champion_is_not_watched(losing: Watched) -> None:
    losing.publish(*range(8))
    losing.promote("3", live_from=8, basis="better")
    assert "the watch of version 2 ended: decide promoted version 3" in losing.watch(9)["finding"]
