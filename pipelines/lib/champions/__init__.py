"""Who is champion: MLflow's aliases, what a run is pinned to, and what it takes to rebuild a model."""
