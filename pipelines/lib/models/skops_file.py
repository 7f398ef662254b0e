"""A scikit-learn object as a skops file whose bytes depend on the object alone.

skops names the parts of an object after their addresses in memory or by chance, and stamps them with the time. Here both are replaced by
the order of appearance and a constant, so that the same training gives the same file, which is what DVC and `replay` compare.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import skops.io

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ModelError

TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "collections.OrderedDict",
    "numpy.dtype",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)
"""The types that a file may hold in addition to those that skops trusts: the parts of the supported estimators.

None of them runs code from the file. A tree is arrays that are read without a check of their bounds, so a forged file can end the process. A booster is the text or
the bytes that its own library writes.
"""

_ADDRESS = re.compile(rb'(?<="__id__": )\d+|(?<=")\d+(?=\.np[yz]")|(?<=")[0-9a-f-]{36}(?=\.bin")')


def dump(model: Any, path: Path) -> None:
    """Write `model` to `path`, whole or not at all."""
    source = zipfile.ZipFile(io.BytesIO(skops.io.dumps(model)))
    order: dict[bytes, int] = {}
    schema = _ADDRESS.sub(lambda match: b"%d" % order.setdefault(match.group(), len(order)), source.read("schema.json"))
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as target:
        target.writestr(zipfile.ZipInfo("schema.json"), schema)
        for name in sorted((name for name in source.namelist() if name != "schema.json"), key=lambda name: order[_address(name)]):
            target.writestr(zipfile.ZipInfo(f"{order[_address(name)]}{Path(name).suffix}"), source.read(name))


def load(path: Path) -> Any:
    """Return the object that `path` holds. Raises `ModelError` when it is missing, torn or holds a type that is not trusted."""
    try:
        return skops.io.load(path, trusted=list(TRUSTED))
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; run the stage that makes it: dvc repro train") from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path} is not a skops file that can be trusted ({type(error).__name__}: {error}); make it again: dvc repro -f train"
        ) from error


def _address(name: str) -> bytes:
    return Path(name).stem.encode()
