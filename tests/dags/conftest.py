"""Airflow must not make itself at home in the home directory of anyone who runs the tests."""

import os
import tempfile

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-"))
