"""The champion: MLflow's aliases, the versions that a run is pinned to, and the tags from which a model is rebuilt."""
