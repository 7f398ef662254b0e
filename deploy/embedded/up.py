"""``make up``: the champion, Airflow, the first nights if none is published, then the schedule; it stays until Ctrl-C."""

import sys
import time
from collections.abc import Callable

from nightshift_airflow.refusals import RunRefusedError

from deploy.embedded.client import ApiError
from deploy.embedded.demo import printer
from deploy.embedded.first_champion import TrainingError, train_first_champion
from deploy.embedded.first_index import IndexingError, make_first_index, published_index
from deploy.embedded.first_nights import MONITORING, first_partitions, follower, score_nights
from deploy.embedded.installation import Installation, InstallationInUse
from deploy.embedded.relocation import relocate
from deploy.embedded.server import Server, stop_on_signals
from deploy.embedded.services import ServerError
from deploy.embedded.settings import USERNAME
from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core import home
from pipelines.lib.core.errors import NightshiftError
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
            champion = Ledger(home.ledger_url()).champion(load_registry().name) or train_first_champion(progress)
            progress(f"champion: {champion.name} version {champion.version}, sha256 {champion.sha256[:12]}")
            scored = bool(published_nights(champion.name, until="9999-12-31", count=1))
            index = published_index()
            # The clock waits for the first nights: it begins with a later one, after which the governor would turn them down.
            with Server(
                schedule=scored, for_people=True, progress=progress, wait_for_dags=(*DAGS, WEEKLY), installation=installation
            ) as server:
                _print_addresses(server)
                if index is None:
                    _make_index(server, progress)
                if not scored:
                    _score_first_nights(server, progress)
                for dag_id in (*DAGS, WEEKLY):
                    server.client().unpause(dag_id)
                server.start_schedule()
                progress("the schedule is on; Ctrl-C stops everything")
                while True:
                    server.check()
                    time.sleep(_LOOK_S)
    except (InstallationInUse, ServerError, TrainingError, NightshiftError, ApiError, RunRefusedError, OSError) as error:
        print(f"\nNightshift is down: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


def _print_addresses(server: Server) -> None:
    print(f"\nAirflow is at {server.url}\n  user      {USERNAME}\n  password  {server.password}")
    if server.mlflow_url:
        print(f"MLflow is at {server.mlflow_url} in a few seconds; it asks for no login, and only this machine reaches it")
    print("Ctrl-C stops everything.\n", flush=True)


def _make_index(server: Server, progress: Callable[[str], None]) -> None:
    """Make the first vector index. Nights are scored without one too, so report a failure and go on."""
    progress("making the first vector index: see encoder_training, then vector_index_rebuild")
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
        progress(f"{night.partition}  {rows}; retrain? {night.decision or 'NOT WATCHED: see the run of ' + MONITORING}")


if __name__ == "__main__":
    sys.exit(main())
