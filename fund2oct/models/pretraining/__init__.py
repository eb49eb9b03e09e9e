"""Pre-trainings on photos alone, on volumes alone, and on pairs: what a translation can begin with."""

from fund2oct.models.pretraining.masked import MaskedModel
from fund2oct.models.pretraining.pairs import MaskedPairs
from fund2oct.models.pretraining.photos import MaskedPhotos
from fund2oct.models.pretraining.volumes import MaskedVolumes

__all__ = ["MaskedModel", "MaskedPairs", "MaskedPhotos", "MaskedVolumes"]
