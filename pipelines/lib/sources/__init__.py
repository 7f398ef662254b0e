"""Where rows come from: one adapter for each kind of source, the raw directory of a run, and the outcomes."""
