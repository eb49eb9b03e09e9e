"""Weights that lie elsewhere than they are named, or are for other photos, are told from damaged ones."""

import pytest
import torch

from fund2oct.networks.encoder import build_encoder

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def test_a_file_in_a_folder_and_a_folder_of_a_file_are_told_apart(dinov2, retfound):
    with pytest.raises(ValueError, match=rf"belongs to the {CONFIG} beside it; name the folder, {dinov2}$"):
        build_encoder(str(dinov2 / WEIGHTS))
    with pytest.raises(ValueError, match=r"expected .*; to read RETFound_tiny\.pth, name that file itself$"):
        build_encoder(str(retfound.parent))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("patch_embed.proj.weight", lambda weight: weight[:, :1]),  # of grey photos
        ("pos_embed", lambda weight: weight.repeat(1, 2, 1)[:, 1:]),  # of photos twice as wide as high
    ],
)
def test_weights_for_other_photos_are_named(name, changed, retfound, tmp_path):
    weights = torch.load(retfound, weights_only=False)["model"]
    weights[name] = changed(weights[name]).clone()
    torch.save({"model": weights}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=r"other\.pth: 1 weights are missing or of another shape .*embeddings"
    ):
        build_encoder(str(tmp_path / "other.pth"))
