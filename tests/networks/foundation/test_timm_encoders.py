"""Encoders of timm, where it can be imported: their values are those of timm."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from fund2oct.networks.encoder import build_encoder
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.networks.foundation.photo_input import PhotoInput
from fund2oct.networks.foundation.timm_models import TimmBackbone, _check_one_kind
from fund2oct.networks.foundation.tuning import choose_trained

ROUNDING = {"rtol": 1e-4, "atol": 1e-4}
"""Of float32 features of about one, summed in another order; another block or depth is apart by about one."""


@pytest.fixture(scope="module")
def timm():
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision for another torch breaks with the latter
        pytest.skip(f'timm cannot be imported: pip install "fund2oct[timm]" ({error})')
    return timm


def saved(timm, name, path, **options):
    """A network of random weights, written as a file."""
    torch.manual_seed(4)
    network = timm.create_model(name, pretrained=False, **options).eval()
    save_file(network.state_dict(), path)
    return network


@torch.no_grad()
def test_a_transformer_by_the_name_of_its_file(timm, tmp_path):
    network = saved(timm, "test_vit", tmp_path / "test_vit.r160_in1k.safetensors")
    encoder = build_encoder(str(tmp_path / "test_vit.r160_in1k.safetensors"))
    wanted = timm.data.resolve_model_data_config(network)
    prepare = encoder.backbone.photo_input
    assert (3, prepare.width_px, prepare.width_px) == tuple(wanted["input_size"])
    assert (prepare.mean, prepare.deviation) == (tuple(wanted["mean"]), tuple(wanted["std"]))
    assert prepare.interpolation == wanted["interpolation"]
    prepared = prepare(torch.rand(2, 3, 200, 200))
    depths = [int(name.split(".")[1]) for name in (one["module"] for one in network.feature_info)]
    expected = network.forward_intermediates(prepared, norm=True, intermediates_only=True)
    for depth, mine in zip(encoder.backbone.indices, encoder.backbone(prepared), strict=True):
        torch.testing.assert_close(mine, expected[depths.index(depth)], **ROUNDING)
    assert [each.shape[1] for each in encoder(prepared.clamp(0, 1))] == list(encoder.channels)
    small = build_encoder(str(tmp_path / "test_vit.r160_in1k.safetensors"), width_px=64)
    assert small.backbone(small.backbone.photo_input(torch.rand(1, 3, 80, 80)))[0].shape[-1] == 4


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "test_efficientnet"])
def test_the_stages_of_a_convolutional_network(name, timm, tmp_path):
    network = saved(timm, name, tmp_path / f"{name}.safetensors")
    encoder = build_encoder(str(tmp_path / f"{name}.safetensors"), fine_tune=1)
    photo = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        expected = network.forward_intermediates(encoder.backbone.photo_input(photo), intermediates_only=True)
    for mine, other in zip(encoder(photo), expected, strict=True):
        assert mine.shape == other.shape
        centred = other - other.mean(1, keepdim=True)
        normed = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
        torch.testing.assert_close(mine, normed, **ROUNDING)
    trained = {name for name, one in encoder.backbone.named_parameters() if one.requires_grad}
    blocks = encoder.backbone.blocks()
    assert trained == set(blocks[-1]) and 3 <= len(blocks) <= 8
    sizes = [each.shape[-1] for each in expected]
    assert sizes == sorted(set(sizes), reverse=True)


def test_a_folder_of_the_hub(timm, tmp_path):
    network = saved(timm, "test_vit", tmp_path / "model.safetensors", num_classes=5)
    about = {"architecture": "test_vit", "num_classes": 5, "pretrained_cfg": {
        "input_size": [3, 160, 160], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "num_classes": 5,
        "interpolation": "bilinear", "classifier": "head", "fixed_input_size": True,
    }}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(about))
    encoder = build_encoder(str(tmp_path))
    assert encoder.backbone.photo_input.mean == (0.1, 0.2, 0.3)
    assert encoder.backbone.photo_input.interpolation == "bilinear"
    mine = encoder.backbone.network.state_dict()
    assert all(mine[key].equal(value) for key, value in network.state_dict().items() if key in mine)
    (tmp_path / "config.json").write_text(json.dumps(about | {"architecture": "magic"}))
    with pytest.raises(ValueError, match="timm knows no architecture 'magic'"):
        build_encoder(str(tmp_path))


def test_a_name_without_a_tag_says_too_little_where_tags_differ(timm, tmp_path):
    """Some of these weights want photos less the mean of ImageNet, others less one half."""
    (tmp_path / "vit_base_patch16_224.pth").write_bytes(b"not looked at")
    with pytest.raises(
        ValueError, match=r"its name does not say which of timm's .* as in vit_base_patch16_224\."
    ):
        build_encoder(str(tmp_path / "vit_base_patch16_224.pth"))


@pytest.mark.parametrize(("means", "refused"), [((0.5, 0.485), True), ((0.5, 0.5), False), ((0.5,), False)])
def test_tags_differ_by_how_they_want_the_photo(means, refused, tmp_path):
    """The same without timm."""

    def wanted(mean):
        return SimpleNamespace(input_size=[3, 8, 8], mean=3 * [mean], std=3 * [0.5], interpolation="bicubic")

    known = {f"small.tag{number}": wanted(mean) for number, mean in enumerate(means)}
    library = SimpleNamespace(list_pretrained=lambda pattern: list(known), get_pretrained_cfg=known.get)
    with pytest.raises(ValueError, match=r"as in small.tag0, small.tag1") if refused else nullcontext():
        _check_one_kind(library, tmp_path / "small.pth")


class Stages(nn.Module):
    """Maps as timm gives them, of pixels that are left over or padded."""

    feature_info = ({"num_chs": 3, "reduction": 2}, {"num_chs": 3, "reduction": 4})

    def __init__(self, padded):
        super().__init__()
        self.padded = padded

    def forward_intermediates(self, photo, **options):
        return [F.avg_pool2d(photo, cell, ceil_mode=self.padded) for cell in (2, 4)]


@pytest.mark.parametrize(
    ("width_px", "padded", "refused"), [(12, False, False), (10, True, False), (10, False, True)]
)
def test_maps_without_the_edge_of_the_photo_are_no_maps_of_it(width_px, padded, refused):
    """The same without timm."""
    backbone = TimmBackbone(Stages(padded), PhotoInput(width_px, 3 * (0.5,), 3 * (0.5,)))
    message = (
        r"expected maps that span the whole photo of 10 pixels, found 2 cells of 4; choose a multiple of 4"
    )
    with pytest.raises(ValueError, match=message) if refused else nullcontext():
        assert [each.shape[-1] for each in backbone(torch.rand(1, 3, width_px, width_px))][1] == 3


@pytest.mark.parametrize(("name", "width_px"), [("test_vit", 100), ("test_convnext", 100)])
def test_maps_that_leave_out_the_edge_of_the_photo_are_refused(name, width_px, timm, tmp_path):
    saved(timm, name, tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="encoder_px: expected"):
        build_encoder(str(tmp_path / f"{name}.safetensors"), width_px=width_px)(torch.rand(1, 3, 160, 160))


def test_a_weight_that_is_missing_is_not_drawn_at_random(timm, tmp_path):
    path = tmp_path / "test_vit.pth"
    weights = saved(timm, "test_vit", tmp_path / "all.safetensors").state_dict()
    del weights["blocks.1.mlp.fc1.weight"]
    torch.save(weights, path)
    with pytest.raises(
        ValueError, match=r"test_vit.pth: damaged, or not the weights .*blocks.1.mlp.fc1.weight"
    ):
        build_encoder(str(path))


def test_lora(timm, tmp_path):
    pytest.importorskip("peft", reason='pip install "fund2oct[foundation]"')
    saved(timm, "test_vit", tmp_path / "test_vit.safetensors")
    encoder = build_encoder(str(tmp_path / "test_vit.safetensors"), lora_rank=2)
    trained = [name for name, one in encoder.backbone.named_parameters() if one.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    encoder(torch.rand(1, 3, 160, 160))[0].sum().backward()


class Tokens(nn.Module):
    """A transformer that classifies by the mean of its tokens, as timm has it."""

    feature_info = 2 * ({"num_chs": 3, "reduction": 2},)

    def __init__(self):
        super().__init__()
        self.norm, self.fc_norm = nn.Identity(), nn.LayerNorm(3)

    def forward_intermediates(self, photo, norm, **options):
        tokens = F.avg_pool2d(photo, 2).permute(0, 2, 3, 1)
        return 2 * [(self.norm(tokens) if norm else tokens).permute(0, 3, 1, 2)]


@torch.no_grad()
def test_the_norm_of_the_mean_normalises_each_token():
    """The same without timm."""
    backbone, photo = TimmBackbone(Tokens(), PhotoInput(8, 3 * (0.5,), 3 * (0.5,))), torch.rand(1, 3, 8, 8)
    expected = F.layer_norm(F.avg_pool2d(photo, 2).permute(0, 2, 3, 1), (3,)).permute(0, 3, 1, 2)
    for found in backbone(photo):
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_a_classifier_by_the_mean_of_the_tokens_has_the_norm_of_that_mean(timm):
    torch.manual_seed(4)
    network = timm.create_model("test_vit", pretrained=False, num_classes=0, global_pool="avg").eval()
    nn.init.uniform_(network.fc_norm.weight)
    photo, norm = torch.rand(1, 3, 160, 160), network.fc_norm
    plain = network.forward_intermediates(photo, norm=True, intermediates_only=True)
    backbone = TimmBackbone(network, PhotoInput(160, 3 * (0.5,), 3 * (0.5,)))
    for found, other in zip(backbone(photo), (plain[index] for index in backbone.indices), strict=True):
        expected = norm(other.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(found, expected, **ROUNDING)


class Attention(nn.Module):
    """The start of the attention of BEiT, EVA and Swin V2 in timm."""

    def __init__(self):
        super().__init__()
        self.qkv, self.bias = nn.Linear(3, 9, bias=False), nn.Parameter(torch.rand(9))
        self.qkv_bias_separate = False

    def forward(self, x):
        return self.qkv(x) + self.bias if self.qkv_bias_separate else F.linear(x, self.qkv.weight, self.bias)


class Attending(Backbone):
    def __init__(self):
        super().__init__()
        self.attention = Attention()

    def forward(self, prepared):
        return [self.attention(prepared)]

    def blocks(self):
        return [["attention.qkv.weight", "attention.bias"]]


def changes_learn(backbone, photo):
    """Whether a gradient comes to each low-rank change of queries, keys and values."""
    sum((torch.rand_like(each) * each).sum() for each in backbone(photo)).backward()
    weights = backbone.named_parameters()
    found = [weight.grad for name, weight in weights if "qkv" in name and "lora_B" in name]
    return bool(found) and all(each is not None and each.any() for each in found)


def test_lora_reaches_an_attention_that_adds_its_bias_within():
    """The same without timm."""
    pytest.importorskip("peft", reason='pip install "fund2oct[foundation]"')
    backbone, tokens = Attending(), torch.rand(2, 5, 3)
    before = backbone(tokens)[0]
    choose_trained(backbone, False, 2)
    torch.testing.assert_close(backbone(tokens)[0], before)
    assert changes_learn(backbone, tokens)


@pytest.mark.parametrize(
    ("name", "width_px", "options"),
    [
        ("beit_base_patch16_224", 32, {"embed_dim": 32, "depth": 2, "num_heads": 2}),
        ("eva_giant_patch14_224", 28, {"embed_dim": 32, "depth": 2, "num_heads": 2}),
        ("swinv2_tiny_window8_256", 64, {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}),
    ],
)
def test_lora_reaches_every_attention(name, width_px, options, timm):
    pytest.importorskip("peft", reason='pip install "fund2oct[foundation]"')
    torch.manual_seed(4)
    network = timm.create_model(name, pretrained=False, num_classes=0, img_size=width_px, **options)
    for part in network.modules():  # those of Swin V2 begin at 0, behind which nothing of a block is seen
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
    backbone = TimmBackbone(network.eval(), PhotoInput(width_px, 3 * (0.5,), 3 * (0.5,)))
    choose_trained(backbone, False, 2)
    assert changes_learn(backbone, torch.rand(1, 3, width_px, width_px))
