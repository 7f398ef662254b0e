"""From published nights to a decision: what has drifted, how well it went, whether to retrain, and the alert."""
