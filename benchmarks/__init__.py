"""One file a figure: each module has ``main() -> dict`` and may state its TARGETS. ``python -m benchmarks`` runs them all."""
