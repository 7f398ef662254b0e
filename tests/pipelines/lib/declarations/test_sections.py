"""The models of all sections: each run loads them when it opens, so they must be light."""

import subprocess
import sys

import pytest

from pipelines.lib.core.params import Section
from pipelines.lib.declarations.sections import SECTIONS, model_of

LOAD = """
import sys
from pipelines.lib.declarations.sections import SECTIONS, model_of
for section in SECTIONS:
    model_of(section)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_each_section_has_a_model() -> None:
    assert all(issubclass(model_of(section), Section) for section in SECTIONS)


@pytest.mark.costly
def test_no_model_of_a_section_loads_what_only_the_work_of_its_stage_needs() -> None:
    """ONNX Runtime and Delta take as long to import as all of these modules together."""
    loaded = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True).stdout.split()
    assert not {"onnxruntime", "deltalake", "sklearn", "scipy", "mlflow", "faiss", "great_expectations", "pandas", "airflow"} & set(loaded)
