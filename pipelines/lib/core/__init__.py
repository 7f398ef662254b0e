"""The base of all packages: errors, files and digests, the partition, ``params.yaml`` and ``run.yaml``, and what every stage does."""
