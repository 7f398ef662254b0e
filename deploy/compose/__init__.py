"""Secrets, databases and first steps of the production topology of docker-compose.yaml."""
