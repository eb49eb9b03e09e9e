"""Small random weights on disk, as the hub and others publish them."""

import argparse
import json

import pytest
import torch

PHOTO = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3, "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3],
}  # fmt: skip
"""What each ``preprocessor_config.json`` here says, unlike ImageNet's."""
LAYERS, WIDTH = 5, 64


@pytest.fixture(scope="session")
def transformers():
    """The package, or the reason why it is not there."""
    return pytest.importorskip("transformers", reason='pip install "fund2oct[foundation]"')


@pytest.fixture(scope="session")
def write(transformers):
    """A function that writes a network as the hub gives it."""
    transformers.utils.logging.disable_progress_bar()

    def write(network, folder, **photo):
        network.eval().save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(PHOTO | photo))
        return folder

    return write


@pytest.fixture(scope="session")
def dinov2(transformers, write, tmp_path_factory):
    """A DINOv2 of five blocks that wants the centre, 42 pixels wide, of photos of 48; its table is for 56."""
    torch.manual_seed(1)
    config = transformers.Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2, mlp_ratio=2, image_size=56,
        patch_size=14, drop_path_rate=0.5, layerscale_value=0.5,
    )  # fmt: skip
    return write(
        transformers.Dinov2Model(config), tmp_path_factory.mktemp("weights") / "dinov2-tiny",
        image_processor_type="BitImageProcessor", size={"shortest_edge": 48}, do_center_crop=True,
        crop_size={"height": 42, "width": 42}, do_convert_rgb=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def mae(transformers):
    """A masked autoencoder of two blocks, for photos of 64 pixels."""
    torch.manual_seed(2)
    config = transformers.ViTMAEConfig(
        hidden_size=192, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=64,
        patch_size=16, layer_norm_eps=1e-6, mask_ratio=0.0, decoder_hidden_size=32,
        decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=32,
    )  # fmt: skip
    return transformers.ViTMAEForPreTraining(config).eval()


@pytest.fixture(scope="session")
def retfound(mae, tmp_path_factory):
    """The same as its authors, and those of RETFound, write it: with decoder, optimiser and arguments."""
    vit = mae.vit
    weights = {
        "cls_token": vit.embeddings.cls_token, "pos_embed": vit.embeddings.position_embeddings,
        "mask_token": torch.zeros(1, 1, 32), "decoder_blocks.0.attn.qkv.weight": torch.rand(96, 32),
        "decoder_embed.weight": torch.rand(32, 192),
    }  # fmt: skip
    whole = {"patch_embed.proj": vit.embeddings.patch_embeddings.projection, "norm": vit.layernorm}
    (blocks,) = (part for part in vit.modules() if isinstance(part, torch.nn.ModuleList))
    for number, block in enumerate(blocks):
        linear = [part for part in block.attention.modules() if isinstance(part, torch.nn.Linear)]
        query, key, value, out = linear
        up, down = (
            part for part in block.modules() if isinstance(part, torch.nn.Linear) and part not in linear
        )
        for name in ("weight", "bias"):
            weights[f"blocks.{number}.attn.qkv.{name}"] = torch.cat(
                [getattr(part, name) for part in (query, key, value)]
            )
        whole |= {
            f"blocks.{number}.attn.proj": out,
            f"blocks.{number}.mlp.fc1": up,
            f"blocks.{number}.mlp.fc2": down,
            f"blocks.{number}.norm1": block.layernorm_before,
            f"blocks.{number}.norm2": block.layernorm_after,
        }
    for name, part in whole.items():
        weights |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    path = tmp_path_factory.mktemp("weights") / "RETFound_tiny.pth"
    beside = {"epoch": 3, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}, "param_groups": []}}
    torch.save({"model": {name: one.detach().clone() for name, one in weights.items()}} | beside, path)
    return path


@pytest.fixture(scope="session")
def convnext(transformers, write, tmp_path_factory):
    """A ConvNeXt of four stages, written as the classifier that it was trained as."""
    torch.manual_seed(3)
    config = transformers.ConvNextConfig(
        hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 2, 1], layer_scale_init_value=0.5
    )
    network = transformers.ConvNextForImageClassification(config)
    folder = tmp_path_factory.mktemp("weights") / "convnext-tiny"
    return write(network, folder, size={"shortest_edge": 64}, resample=2)
