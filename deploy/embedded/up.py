"""``make up``: the champion, Airflow with its schedule, and it stays until Ctrl-C."""

import sys
import time

from nightshift_airflow.workspaces import RunRefusedError

from deploy.embedded.demo import printer
from deploy.embedded.first_champion import TrainingError, train_first_champion
from deploy.embedded.first_index import published_since, request_first_index
from deploy.embedded.server import USERNAME, Server, ServerError, stop_on_signals
from pipelines.lib import home
from pipelines.lib.errors import NightshiftError
from pipelines.lib.ledger import Ledger
from pipelines.lib.registry import load_registry
from pipelines.lib.run import load_run

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
_LOOK_S = 2  # how often to see whether every service still lives


def main() -> int:
    """Start Airflow and stay; 0 after Ctrl-C."""
    stop_on_signals()
    progress = printer(time.monotonic())
    try:
        champion = Ledger(home.ledger_url()).champion(load_registry().name) or train_first_champion(progress)
        progress(f"champion: {champion.name} version {champion.version}, sha256 {champion.sha256[:12]}")
        with Server(progress=progress, wait_for_dags=(*DAGS, WEEKLY)) as server:
            client, (switch, index) = server.client(), published_since(None)
            for dag_id in DAGS:
                client.unpause(dag_id)
            client.unpause(WEEKLY, paused=index is None)  # its clock would ask for an index of an encoder that is not there yet
            if index is None:
                request_first_index(client, load_run().partition)
                progress(
                    "making the first vector index: see encoder_training, then vector_index_rebuild; until then nights have no evidence"
                )
            print(f"\nAirflow is at {server.url}\n  user      {USERNAME}\n  password  {server.password}\n\nCtrl-C stops it.", flush=True)
            while True:
                server.check()
                if index is None:
                    switch, index = published_since(switch)
                    if index:
                        progress(f"index: generation {index['generation']}, {index['count']:,} rows; a new one is made every week")
                        client.unpause(WEEKLY)
                time.sleep(_LOOK_S)
    except (ServerError, TrainingError, NightshiftError, RunRefusedError, OSError) as error:
        print(f"\nNightshift is down: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


if __name__ == "__main__":
    sys.exit(main())
