"""What Nightshift computes: one stage, one file, one verb. No Airflow in here."""
