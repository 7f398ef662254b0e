"""Is the published vector index whole, fresh, and made by the encoder that is champion?

Reads   the pointer and the files of the current generation, the ledger, run.yaml for the partition
Writes  data/reports/check_index/report.json
Fails   when the current generation is not whole, when it is older than stale_days, or the encoder's champion is another one for as long: the red task is
        the alarm (docs/runbooks/stale-index.md). Where no index is published there is nothing to be alarmed at

By hand: ``python -m pipelines.monitoring.check_index``.
"""

import datetime as dt
import sys

from pydantic import Field

from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core import home, stage
from pipelines.lib.core.errors import GateFailed, ModelError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import load_run
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index.generations import Generation


class CheckIndex(Section):
    """`stale_days`: how much older than the night a generation may be, and how long its encoder may differ from the champion."""

    stale_days: int = Field(ge=1)


def check_index(served: Generation | None, champion: Entry | None, date: dt.date, params: CheckIndex) -> list[str]:
    """Return what is wrong on `date` with the generation that is `served`, where `champion` is the encoder's entry in the ledger; empty
    for nothing.
    """
    if served is None:
        return []
    faults = []
    age = days_between(served.partition, date)
    if age > params.stale_days:
        faults.append(
            f"STALE: generation {served.generation} is {age} days older than the night, the limit is {params.stale_days}; look at the last runs of vector_index_rebuild"
        )
    if champion and champion.sha256 != served.encoder_sha256:
        since = days_between(champion.live_from, date)
        if since > params.stale_days:
            faults.append(
                f"OTHER ENCODER: generation {served.generation} was built by version {served.encoder_version}, version {champion.version} is champion for "
                f"{since} days, the limit is {params.stale_days}; trigger vector_index_rebuild"
            )
    return faults


def days_between(partition: str, date: dt.date) -> int:
    """Return the days from `partition` to `date`; negative if it is after."""
    return (date - parse_partition(partition)).days


@stage.stage("check_index")
def main() -> None:
    """Check as `params.yaml` says, on the partition of `run.yaml`."""
    run, name, params = load_run(), load_registry().encoder, load_section("check_index", CheckIndex)
    served, broken = None, None
    try:
        served, broken = generations.usable(name) or (None, None)
    except ModelError as error:
        broken = str(error)
    faults = [f"BROKEN: {broken}" + (f"; {served.generation} is served instead" if served else "")] if broken else []
    faults += check_index(served, Ledger(home.ledger_url()).champion(name), run.date, params)
    note = "; ".join(faults) or (f"index of {served.partition}" if served else "no vector index is published")
    report = {"partition": run.partition, "generation": served and served.generation, "faults": faults, "note": note}
    stage.write_report("check_index", report)
    if faults:
        raise GateFailed(f"{note}. See docs/runbooks/stale-index.md")


if __name__ == "__main__":
    sys.exit(main())
