"""The command ``python -m pipelines.use_case``: show, derive, begin and check a use case."""
