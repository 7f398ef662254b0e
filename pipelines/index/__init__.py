"""The vector index: vectors of all that has an outcome, an index over them, its gates, and generations that readers see whole."""
