"""Ingest, validate and featurize: the stages that every line goes through."""
