"""A feature network of a user's own, small enough for tests."""

import torch
from torch import nn


def build() -> nn.Module:
    """Mean brightness over a coarse grid, of images."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
