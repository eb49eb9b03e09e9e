"""Models of other papers, to compare with; each a small class over what all models have."""

from fund2oct.models.baselines.pix2pixhd import Pix2PixHD
from fund2oct.models.baselines.unet3d import UNet3D
from fund2oct.models.baselines.x2ct import X2CT

__all__ = ["X2CT", "Pix2PixHD", "UNet3D"]
