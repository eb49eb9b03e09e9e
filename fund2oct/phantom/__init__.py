"""Simulated eyes: a photo and a volume rendered from one anatomy, with the truth beside them."""

from fund2oct.phantom.config import PhantomConfig
from fund2oct.phantom.from_photo import SeenAnatomy, simulate_behind_photo
from fund2oct.phantom.lesions import DIAGNOSES, LESIONS
from fund2oct.phantom.rendering.scanner import Optics
from fund2oct.phantom.simulate import simulate_eye
from fund2oct.phantom.twins import simulate_twins, twin_boundaries

__all__ = [
    "DIAGNOSES",
    "LESIONS",
    "Optics",
    "PhantomConfig",
    "SeenAnatomy",
    "simulate_behind_photo",
    "simulate_eye",
    "simulate_twins",
    "twin_boundaries",
]
