"""What Nightshift's DAGs make and wait for."""

from airflow.sdk import Asset

scores = Asset(name="scores", uri="nightshift://published/scores")
"""The published table of scores; its events carry the partition that was published."""

champion_model = Asset(name="champion_model", uri="nightshift://registry/champion")
"""The model in production; its events say that the ledger has moved."""
