"""Ingest, validate and featurize: the rooms every line goes through."""
