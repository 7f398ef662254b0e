"""How Nightshift is installed: embedded on one machine, or the topology of docker-compose.yaml."""
