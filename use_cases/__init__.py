"""The use cases of this installation: one table each, declared in its params.yaml."""
