"""Declarations of use cases: what is derived from the history of a table, and what is checked before anything runs."""
