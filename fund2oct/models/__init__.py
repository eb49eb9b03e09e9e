"""Lightning modules: what any model is, the adversarial loop, and the models over it."""

from fund2oct.models.base import Batch, Fake, Losses, VolumeModel
from fund2oct.models.checkpoint import CheckpointError, load_model
from fund2oct.models.gan import VolumeGAN
from fund2oct.models.pix2vol import Pix2Vol
from fund2oct.models.surface_model import SurfaceModel
from fund2oct.models.task import Task, TrainingData
from fund2oct.models.voxel_gan import VoxelGAN

__all__ = [
    "Batch",
    "CheckpointError",
    "Fake",
    "Losses",
    "Pix2Vol",
    "SurfaceModel",
    "Task",
    "TrainingData",
    "VolumeGAN",
    "VolumeModel",
    "VoxelGAN",
    "load_model",
]
