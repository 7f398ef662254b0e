"""``make up``: Airflow with all use cases; it stays until Ctrl-C.

Each use case gets its champion, its vector index and its first nights, unless it has them. Then the schedule of all of them begins. One that is broken is
reported and left out.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightshift_airflow.refusals import RunRefusedError

from deploy.embedded.chosen import choosing, dag_id
from deploy.embedded.client import ApiError
from deploy.embedded.demo import printer
from deploy.embedded.first_champion import TrainingError, train_first_champion
from deploy.embedded.first_index import REBUILD, TRAINING, IndexingError, make_first_index, published_index
from deploy.embedded.first_nights import MONITORING, first_partitions, follower, score_nights
from deploy.embedded.installation import Installation, InstallationInUse
from deploy.embedded.preparation import lacks_data, prepare
from deploy.embedded.relocation import relocate
from deploy.embedded.server import Server, stop_on_signals
from deploy.embedded.services import ServerError
from deploy.embedded.settings import USERNAME
from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core import home
from pipelines.lib.core.errors import ConfigError, NightshiftError
from pipelines.lib.core.use_cases import UseCase, use_cases
from pipelines.lib.published.nights import published_nights
from pipelines.lib.records.ledger import Ledger

DAGS = (
    "nightly_batch_scoring",
    "drift_monitoring",
    "drift_triggered_retraining",
    "champion_rollback",
    "champion_replay",
    "encoder_training",
    "vector_index_rebuild",
    "index_rollback",
)
WEEKLY = "weekly_index_rebuild"
_TIMEOUT_S = 1200
_LOOK_S = 2  # how often to see whether every service still lives


def main() -> int:
    """Start Airflow and stay; 0 after Ctrl-C."""
    stop_on_signals()
    progress = printer(time.monotonic())
    try:
        with Installation(home.home()) as installation:
            relocate(progress)
            ready = prepare_all(use_cases(Path()), progress)
            # The clock waits for the first nights: it begins with a later one, after which the governor would turn them down.
            with Server(
                schedule=all(one.scored for one in ready),
                for_people=True,
                progress=progress,
                wait_for_dags=tuple(f"{kind}{one.use_case.suffix}" for one in ready for kind in (*DAGS, WEEKLY)),
                installation=installation,
            ) as server:
                _print_addresses(server)
                for one in ready:  # one after another: two cores train no faster on three tables at once
                    _begin(one, server, naming(one.use_case, progress))
                for one in ready:
                    for kind in (*DAGS, WEEKLY):
                        server.client().unpause(f"{kind}{one.use_case.suffix}")
                server.start_schedule()
                progress(f"the schedule of {', '.join(one.use_case.name for one in ready)} is on; Ctrl-C stops everything")
                while True:
                    server.check()
                    time.sleep(_LOOK_S)
    except (InstallationInUse, ServerError, TrainingError, NightshiftError, ApiError, RunRefusedError, OSError) as error:
        print(f"\nNightshift is down: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


@dataclass(frozen=True)
class Ready:
    """A use case with a champion; whether it was `scored` before and is `indexed`."""

    use_case: UseCase
    scored: bool
    indexed: bool


def prepare_all(declared: Sequence[UseCase], progress: Callable[[str], None]) -> list[Ready]:
    """Bring each of the `declared` use cases to its champion, and return those that have one. Report the others, with their faults.

    A worked example whose data nobody has made waits until somebody does: the first start shall not train three tables.
    Raises `ConfigError` if there is none.
    """
    ready = []
    for use_case in declared:
        try:
            if lacks_data(use_case):
                progress(
                    f"{use_case.name} waits: it is an example without data. make demo use_case={use_case.name} makes it, and make up then runs it"
                )
                continue
            with choosing(use_case):
                ready.append(_prepare(use_case, naming(use_case, progress)))
        except (TrainingError, NightshiftError, RunRefusedError) as error:
            progress(f"{use_case.name} IS LEFT OUT: {error}")
    if not ready:
        raise ConfigError(f"none of the use cases can run: {', '.join(one.name for one in declared)}; the lines above say why")
    return ready


def naming(use_case: UseCase, progress: Callable[[str], None]) -> Callable[[str], None]:
    """Return `progress` with the name of `use_case` before each step."""
    return lambda step: progress(f"{use_case.name}: {step}")


def _prepare(use_case: UseCase, progress: Callable[[str], None]) -> Ready:
    prepare(use_case, progress)
    champion = Ledger(home.ledger_url()).champion(load_registry().name) or train_first_champion(progress)
    progress(f"champion: {champion.name} version {champion.version}, sha256 {champion.sha256[:12]}")
    scored = bool(published_nights(champion.name, until="9999-12-31", count=1))
    return Ready(use_case, scored, published_index() is not None)


def _begin(one: Ready, server: Server, progress: Callable[[str], None]) -> None:
    """Make the first index and score the first nights, if there are none. Report a failure: the other use cases go on, and so does the schedule of all."""
    try:
        with choosing(one.use_case):
            if not one.indexed:
                _make_index(server, progress)
            if not one.scored:
                _score_first_nights(server, progress)
    except (NightshiftError, ApiError, TimeoutError) as error:
        server.check()  # without its services, nothing goes on
        progress(
            f"NO FIRST NIGHTS: {error}. The schedule scores the next night; make up scores the first ones again if none is published by then"
        )


def _print_addresses(server: Server) -> None:
    print(f"\nAirflow is at {server.url}\n  user      {USERNAME}\n  password  {server.password}")
    if server.mlflow_url:
        print(f"MLflow is at {server.mlflow_url} in a few seconds; it asks for no login, and only this machine reaches it")
    print("Ctrl-C stops everything.\n", flush=True)


def _make_index(server: Server, progress: Callable[[str], None]) -> None:
    """Make the first vector index. Nights are scored without one too, so report a failure and go on."""
    progress(f"making the first vector index: see {dag_id(TRAINING)}, then {dag_id(REBUILD)}")
    tell = follower(progress, lambda run_id: "index")
    try:
        index = make_first_index(server.client(), first_partitions()[0], progress=tell, check=server.check, timeout_s=_TIMEOUT_S)
    except (IndexingError, TimeoutError) as error:
        progress(f"NO VECTOR INDEX: {error}. Nights are scored without evidence until a rebuild succeeds")
    else:
        progress(f"index: generation {index['generation']}, {index['count']:,} rows; a new one is made every week")


def _score_first_nights(server: Server, progress: Callable[[str], None]) -> None:
    for night in score_nights(server.client(), first_partitions(), progress=progress, check=server.check):
        rows = f"{night.rows} rows published" if night.state == "success" else f"NOT PUBLISHED: see the note of run {night.run_id}"
        progress(f"{night.partition}  {rows}; retrain? {night.decision or 'NOT WATCHED: see the run of ' + dag_id(MONITORING)}")


if __name__ == "__main__":
    sys.exit(main())
