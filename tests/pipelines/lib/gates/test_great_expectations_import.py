"""The light import: what is put aside is there afterwards."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_light_import_leaves_everything_importable() -> None:
    """In a process of its own: afterwards what was put aside is there, and what was postponed works when it is used."""
    program = """
import sys
from pipelines.lib.gates.great_expectations_import import import_great_expectations
import_great_expectations()
assert "altair" not in sys.modules and "scipy.stats" not in sys.modules and "sqlalchemy" not in sys.modules, "imported after all"
from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as divergence
assert round(float(divergence.stats.entropy([0.5, 0.5])), 4) == 0.6931
import altair, botocore, scipy.stats, sqlalchemy
assert divergence.alt.Chart is altair.Chart
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
