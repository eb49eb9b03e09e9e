"""Eyes on disk, importers, and what feeds a model in training.

Importing it pulls in neither albumentations nor the phantom, and Lightning only for the datamodules.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fund2oct.data.loading.dataset import FundusOCTDataset
from fund2oct.data.preparing.circle import NotAFundusError, RetinaCircle, crop_retina, find_retina
from fund2oct.data.preparing.landmarks import Landmarks, find_landmarks
from fund2oct.data.preparing.placing import PhotoPlacement
from fund2oct.data.store.layout import EyeInfo
from fund2oct.data.store.reader import EyeReader, EyeWriter
from fund2oct.eye import SCHEMA_VERSION, DataError, Eye, problems, validate

if TYPE_CHECKING:
    from fund2oct.data.modules.datamodule import FundusOCTDataModule
    from fund2oct.data.modules.phantom_datamodule import PhantomDataModule
    from fund2oct.data.modules.unpaired import UnpairedDataModule

__all__ = [
    "SCHEMA_VERSION",
    "DataError",
    "Eye",
    "EyeInfo",
    "EyeReader",
    "EyeWriter",
    "FundusOCTDataModule",
    "FundusOCTDataset",
    "Landmarks",
    "NotAFundusError",
    "PhantomDataModule",
    "PhotoPlacement",
    "RetinaCircle",
    "UnpairedDataModule",
    "crop_retina",
    "find_landmarks",
    "find_retina",
    "problems",
    "validate",
]


# Lightning takes seconds to import; each process that simulates an eye would wait for it.
_LAZY = {
    "FundusOCTDataModule": "fund2oct.data.modules.datamodule",
    "PhantomDataModule": "fund2oct.data.modules.phantom_datamodule",
    "UnpairedDataModule": "fund2oct.data.modules.unpaired",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
