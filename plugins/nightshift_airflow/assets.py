"""The assets that Nightshift's DAGs make and wait for."""

from airflow.sdk import Asset

scores = Asset(name="scores", uri="nightshift://published/scores")
"""The published table of scores; its events carry the partition that was published."""

champion_model = Asset(name="champion_model", uri="nightshift://registry/champion")
"""The model in production; its events say that the ledger has moved."""

flight_encoder = Asset(name="flight_encoder", uri="nightshift://registry/flight_encoder")
"""The encoder in production; its events carry the partition as of which it was trained."""

index_due = Asset(name="index_due", uri="nightshift://index/due")
"""A new generation of the vector index is due; its events carry the partition of which it is to be."""

vector_index = Asset(name="vector_index", uri="nightshift://index/current")
"""The published generation of the vector index; its events say that the pointer has moved."""
