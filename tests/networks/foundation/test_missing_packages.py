"""Where a package is missing, the message says which extra brings it."""

import json
import sys

import pytest
import torch
from torch import nn

from fund2oct.networks.encoder import build_encoder
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.networks.foundation.timm_models import is_timm_file
from fund2oct.networks.foundation.tuning import choose_trained


@pytest.fixture(autouse=True)
def _without_packages(monkeypatch):
    for name in ("transformers", "timm", "peft"):
        monkeypatch.setitem(sys.modules, name, None)


def test_of_a_file_in_the_layout_of_mae(tmp_path):
    weights = {
        "cls_token": torch.zeros(1, 1, 192),
        "pos_embed": torch.zeros(1, 5, 192),
        "patch_embed.proj.weight": torch.zeros(192, 3, 8, 8),
        "blocks.0.attn.qkv.weight": torch.zeros(576, 192),
        "blocks.0.mlp.fc1.weight": torch.zeros(96, 192),
    }
    torch.save({"model": weights}, tmp_path / "RETFound.pth")
    with pytest.raises(ModuleNotFoundError, match=r"needs transformers: pip install .fund2oct\[foundation\]"):
        build_encoder(str(tmp_path / "RETFound.pth"))


@pytest.mark.parametrize(
    "name", ["vit_tiny.augreg_in1k.safetensors", "resnet50.a1_in1k.pth", "deit3_small_patch16_224.pth"]
)
def test_of_a_file_that_is_named_as_timm_names_them(name, tmp_path):
    """Its weights may have the names of MAE and want photos that are normalised in another way."""
    torch.save({"cls_token": torch.zeros(1, 1, 64)}, tmp_path / name)
    message = r"is named like a model of timm; .*fund2oct\[timm\].* give it another name"
    with pytest.raises(ModuleNotFoundError, match=message):
        build_encoder(str(tmp_path / name))


@pytest.mark.parametrize(
    "name", ["RETFound.pth", "mae_pretrain_vit_base.pth", "checkpoint-99.pth", "vit.pth"]
)
def test_any_other_name_is_one_of_a_masked_autoencoder(name, tmp_path):
    assert not is_timm_file(tmp_path / name)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "dinov2"}, r"needs transformers: pip install .fund2oct\[foundation\]"),
        (
            {"architecture": "resnet18"},
            r"needs timm: pip install .fund2oct\[timm\]., with the torchvision of",
        ),
    ],
)
def test_of_a_folder(config, message, tmp_path):
    photo = {"size": 8, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(photo))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModuleNotFoundError, match=message):
        build_encoder(str(tmp_path))


def test_of_low_rank_changes():
    class Small(Backbone):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def blocks(self):
            return [["layer.weight", "layer.bias"]]

    with pytest.raises(
        ModuleNotFoundError, match=r"lora_rank needs peft: pip install .fund2oct\[foundation\]"
    ):
        choose_trained(Small(), False, 4)
