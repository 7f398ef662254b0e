"""The stages of Nightshift: one stage, one file, one verb. No Airflow in here."""
