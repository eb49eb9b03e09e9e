"""Where a model that registers scans puts one on its photo, for all that is drawn and stored there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.eye import Array
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.networks.layered.surface_predictor import SurfacePredictor
from fund2oct.networks.registration import RegistrationNetwork, Similarity


def find_place(model: nn.Module, fundus: Array, placement: Placement, scan: ScanPattern) -> Placement:
    """Where a model finds that a scan lies on a photo.

    Args:
        model: a model, trained with ``registration`` or without.
        fundus: photo, cropped and prepared as in the training, RGB, uint8, shape ``(H, H, 3)``.
        placement: where the scan is said to lie.
        scan: its lines.

    Returns:
        The corrected placement; the given one, if the model does not register scans.

    Example:
        >>> from fund2oct.geometry import RadialScan
        >>> from fund2oct.models import SurfaceModel
        >>> import numpy as np
        >>> model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)  # does not register
        >>> find_place(model, np.zeros((64, 64, 3), np.uint8), Placement((0.1, 0.0)), RadialScan())
        Placement(shift=(0.1, 0.0), rotation_deg=0.0, half_width_mm=6.5)
    """
    if not getattr(model, "registration", False):
        return placement
    model.configure_model()  # type: ignore[operator]
    network = model.generator_ema.module  # type: ignore[union-attr]
    assert isinstance(network, SurfacePredictor) and network.registration is not None
    if not network.registration.active:
        return placement
    n_ascans, device = model.shape[2], next(network.parameters()).device  # type: ignore[index]
    grid = placement.to_grid(scan.coordinates(int(n_ascans), device))[None]
    with torch.inference_mode():
        correction = network.registration(network.encoder(photo_tensor(fundus).to(device)), grid)
    return moved_placement(placement, correction)


def moved_placement(placement: Placement, correction: Similarity) -> Placement:
    """The placement of a scan after the correction of one photo.

    Example:
        >>> found = Similarity(torch.zeros(1, 2), torch.tensor([[0.1, 0.0]]), torch.tensor([[0.0, 2.0]]))
        >>> moved_placement(Placement((0.5, 0.0)), found)  # turned to the right, and twice as large
        Placement(shift=(0.1, 1.0), rotation_deg=90.0, half_width_mm=3.25)
    """
    cos, sin = correction.turn[0].double().tolist()
    shift = torch.tensor(placement.shift, device=correction.centre.device).view(1, 1, 1, 2)
    x, y = correction.moved(shift).flatten().tolist()
    turned = placement.rotation_deg + math.degrees(math.atan2(sin, cos))
    return Placement((round(x, 6), round(y, 6)), turned, placement.half_width_mm / math.hypot(cos, sin))


@contextmanager
def at_given_places(model: nn.Module) -> Iterator[None]:
    """Have a model take the places of scans as they are given, for those that it corrected already."""
    networks = [one for one in model.modules() if isinstance(one, RegistrationNetwork) and one.active]
    for network in networks:
        network.active = False
    try:
        yield
    finally:
        for network in networks:
            network.active = True
