"""Entries of a plan that are trained in seconds."""

VOXELS = ["model.init_args.channels=[8,8,16]", "model.init_args.shape=[6,32,48]"]
SURFACES = [
    "model.init_args.encoder=own",
    "model.init_args.surface_width=16",
    "model.init_args.shape=[6,32,48]",
]

OWN = """
from fund2oct.models import Pix2Vol


class Own(Pix2Vol):
    pass
"""
