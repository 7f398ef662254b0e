"""Nightshift on one machine: Airflow without a container, the first champion, the demo."""
