"""What the production topology of docker-compose.yaml needs beside images: secrets, databases, the first steps."""
