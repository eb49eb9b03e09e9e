"""Colour fundus photograph to OCT volume, with the scan's geometry known."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fund2oct.data import EyeReader as EyeReader
    from fund2oct.data import EyeWriter as EyeWriter
    from fund2oct.data import FundusOCTDataModule as FundusOCTDataModule
    from fund2oct.evaluation import evaluate_checkpoints as evaluate
    from fund2oct.eye import Eye as Eye
    from fund2oct.geometry import Placement as Placement
    from fund2oct.geometry import RadialScan as RadialScan
    from fund2oct.geometry import RasterScan as RasterScan
    from fund2oct.models import Pix2Vol as Pix2Vol
    from fund2oct.models import VolumeGAN as VolumeGAN
    from fund2oct.models import VolumeModel as VolumeModel
    from fund2oct.models import load_model as load_model
    from fund2oct.run.predicting.predict import predict as predict
    from fund2oct.run.train import train as train

__version__ = "0.1.0"
__all__ = [
    "Eye",
    "EyeReader",
    "EyeWriter",
    "FundusOCTDataModule",
    "Pix2Vol",
    "Placement",
    "RadialScan",
    "RasterScan",
    "VolumeGAN",
    "VolumeModel",
    "__version__",
    "evaluate",
    "load_model",
    "predict",
    "train",
]

# Importing the package stays light: torch and Lightning take seconds.
_LAZY = {
    "Eye": "fund2oct.eye:Eye",
    "EyeReader": "fund2oct.data:EyeReader",
    "EyeWriter": "fund2oct.data:EyeWriter",
    "FundusOCTDataModule": "fund2oct.data:FundusOCTDataModule",
    "Pix2Vol": "fund2oct.models:Pix2Vol",
    "Placement": "fund2oct.geometry:Placement",
    "RadialScan": "fund2oct.geometry:RadialScan",
    "RasterScan": "fund2oct.geometry:RasterScan",
    "VolumeGAN": "fund2oct.models:VolumeGAN",
    "VolumeModel": "fund2oct.models:VolumeModel",
    "evaluate": "fund2oct.evaluation:evaluate_checkpoints",
    "load_model": "fund2oct.models:load_model",
    "predict": "fund2oct.run.predicting.predict:predict",
    "train": "fund2oct.run.train:train",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, member = _LAZY[name].partition(":")
    return getattr(import_module(module), member)


def __dir__() -> list[str]:
    return __all__
