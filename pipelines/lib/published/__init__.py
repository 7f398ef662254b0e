"""The published tables that consumers read, and their nights."""
