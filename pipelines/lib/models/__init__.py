"""Models: load and verify one, score with it, and what it carries: its reference profile and its golden set."""
