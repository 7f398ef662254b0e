"""Airflow must not make itself at home in the home directory of anyone who runs the tests."""

from tests.airflow_home import use_temporary_home

use_temporary_home()
