"""Features: their declaration, the query that computes them, the signature they carry, and labelled history."""
