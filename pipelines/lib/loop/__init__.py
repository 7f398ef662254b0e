"""The closed loop: what the monitor measures and reports, and when to retrain."""
