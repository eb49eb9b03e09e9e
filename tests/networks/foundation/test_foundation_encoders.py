"""Encoders on weights of others: their values are those of the library that the weights belong to."""

import copy
import json
import shutil
import socket

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from fund2oct.networks.encoder import build_encoder
from fund2oct.networks.foundation.encoder import FoundationEncoder
from fund2oct.networks.foundation.mae_layout import load_mae

MEAN, DEVIATION = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])


def by_hand(photo, width_px, mode="bicubic", mean=MEAN, deviation=DEVIATION):
    """A photo of another size as the weights want it."""
    resized = F.interpolate(photo, (width_px, width_px), mode=mode, antialias=True).clamp(0, 1)
    return (resized - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)


@pytest.fixture
def photo():
    return torch.rand(2, 3, 80, 80)


@torch.no_grad()
def test_dinov2_gives_the_values_of_transformers_at_four_depths(dinov2, transformers, photo):
    encoder = FoundationEncoder(str(dinov2))
    theirs = transformers.Dinov2Backbone.from_pretrained(dinov2, out_indices=[1, 2, 3, 5]).eval()
    expected = theirs(by_hand(photo, 42)).feature_maps
    found = encoder.backbone(encoder.backbone.photo_input(photo))
    assert [tuple(each.shape) for each in found] == 4 * [(2, 64, 3, 3)]
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other)
    maps = encoder(photo)
    assert [tuple(each.shape[1:]) for each in maps] == [(64, 12, 12), (96, 6, 6), (128, 3, 3), (192, 2, 2)]
    assert [each.shape[1] for each in maps] == list(encoder.channels)
    assert encoder.train().backbone.training is False  # drop path, which the weights were trained with, rests


@torch.no_grad()
def test_dinov3_leaves_out_its_registers(transformers, write, tmp_path, photo):
    config = transformers.DINOv3ViTConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=48, image_size=64,
        patch_size=16, num_register_tokens=3,
    )  # fmt: skip
    network = transformers.DINOv3ViTModel(config)
    write(network, tmp_path, size={"height": 64, "width": 64})
    backbone = FoundationEncoder(str(tmp_path)).backbone
    tokens = network(by_hand(photo, 64)).last_hidden_state[:, 1 + 3 :]
    torch.testing.assert_close(
        backbone(backbone.photo_input(photo))[-1], tokens.transpose(1, 2).reshape(2, 32, 4, 4)
    )


@torch.no_grad()
def test_relatives_give_the_values_of_transformers(transformers, write, tmp_path, photo):
    t = transformers
    small = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
    vit = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 64}
    for config, model, theirs in (
        (t.ConvNextV2Config(**small), t.ConvNextV2Model, t.ConvNextV2Backbone),
        (t.DINOv3ConvNextConfig(**small), t.DINOv3ConvNextModel, t.DINOv3ConvNextBackbone),
        (t.Dinov2WithRegistersConfig(**vit, patch_size=16), t.Dinov2WithRegistersModel,
         t.Dinov2WithRegistersBackbone),
    ):  # fmt: skip
        folder = write(model(config), tmp_path / config.model_type, size={"height": 64, "width": 64})
        encoder = FoundationEncoder(str(folder))
        expected = theirs.from_pretrained(folder, out_indices=[1, 2, 3, 4]).eval()(by_hand(photo, 64))
        found = encoder.backbone(encoder.backbone.photo_input(photo))
        if config.model_type == "convnextv2":  # its backbone normalises each place
            found = encoder(photo)
        for mine, other in zip(found, expected.feature_maps, strict=True):
            torch.testing.assert_close(mine, other)


@torch.no_grad()
def test_retfound_gives_the_values_of_the_masked_autoencoder(retfound, mae, photo):
    encoder = FoundationEncoder(str(retfound))
    prepare = encoder.backbone.photo_input
    imagenet = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    prepared = by_hand(photo, 64, mean=imagenet[0], deviation=imagenet[1])
    torch.testing.assert_close(prepare(photo), prepared)
    tokens = mae.vit(prepared, noise=torch.arange(16.0).expand(2, -1)).last_hidden_state[:, 1:]
    torch.testing.assert_close(encoder.backbone(prepared)[-1], tokens.transpose(1, 2).reshape(2, 192, 4, 4))


@pytest.fixture
def changed_mae(retfound, tmp_path):
    """A function that writes the masked autoencoder with other weights."""

    def change(taken_out=(), **added):
        weights = torch.load(retfound, weights_only=False)["model"]
        kept = {name: one for name, one in weights.items() if not name.startswith(tuple(taken_out) or "-")}
        torch.save({"model": kept | added}, tmp_path / "mine.pth")
        return str(tmp_path / "mine.pth")

    return change


@torch.no_grad()
def test_a_fine_tuned_retfound_has_its_last_norm_under_another_name(changed_mae, retfound, photo):
    last = torch.load(retfound, weights_only=False)["model"]
    fine_tuned = changed_mae(
        ("norm.", "decoder", "mask_token"),
        **{
            "fc_norm.weight": last["norm.weight"],
            "fc_norm.bias": last["norm.bias"],
            "head.weight": torch.rand(5, 192),
            "head.bias": torch.rand(5),
        },
    )
    mine, whole = (FoundationEncoder(path).backbone for path in (fine_tuned, str(retfound)))
    for one, other in zip(mine(mine.photo_input(photo)), whole(whole.photo_input(photo)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        # Those of timm have the same names, and may want photos from -1 to 1.
        ({"head.weight": torch.rand(5, 192)}, "holds a classifier .head. beside a last norm, .*install timm"),
        ({"reg_token": torch.rand(1, 4, 192)}, "1 weights have no place in the layout .*reg_token"),
        ({"blocks.0.attn.q_norm.weight": torch.rand(64)}, "no place .*blocks.0.attn.q_norm.weight"),
        ({"norm_pre.weight": torch.rand(192)}, "no place in the layout of MAE and RETFound .norm_pre.weight"),
    ],
)
def test_a_transformer_with_more_than_the_layout_has_is_another(added, message, changed_mae):
    with pytest.raises(ValueError, match=message):
        build_encoder(changed_mae(**added))


def test_a_file_that_does_not_tell_its_attention_heads_is_refused(tmp_path):
    weights = {
        "cls_token": torch.rand(1, 1, 320), "pos_embed": torch.rand(1, 17, 320),
        "patch_embed.proj.weight": torch.rand(320, 3, 16, 16),
        "blocks.0.attn.qkv.weight": torch.rand(960, 320), "blocks.0.mlp.fc1.weight": torch.rand(64, 320),
    }  # fmt: skip
    torch.save({"model": weights}, tmp_path / "mine.pth")
    with pytest.raises(
        ValueError, match=r"expected a width of 192, 384.* found 320.*Save the network as a folder"
    ):
        FoundationEncoder(str(tmp_path / "mine.pth"))


@pytest.mark.parametrize(("width", "n_heads"), [(192, 3), (384, 6), (768, 12), (1024, 16), (1280, 16)])
def test_the_usual_widths_have_the_heads_of_their_papers(width, n_heads, transformers, tmp_path):
    # Dosovitskiy et al. 2021, table 1: Base, Large and Huge; Touvron et al. 2021, table 1: Tiny and Small.
    w, block = width, "blocks.0"
    sizes = {
        "cls_token": (1, 1, w), "pos_embed": (1, 5, w), "patch_embed.proj.weight": (w, 3, 2, 2),
        f"{block}.attn.qkv.weight": (3 * w, w), f"{block}.attn.proj.weight": (w, w),
        f"{block}.mlp.fc1.weight": (4, w), f"{block}.mlp.fc2.weight": (w, 4),
        f"{block}.norm1.weight": (w,), f"{block}.norm2.weight": (w,), "norm.weight": (w,),
    }  # fmt: skip
    sizes |= {name.replace("weight", "bias"): size[:1] for name, size in sizes.items() if "weight" in name}
    torch.save({"model": {name: torch.zeros(size) for name, size in sizes.items()}}, tmp_path / "mae.pth")
    assert load_mae(tmp_path / "mae.pth").network.config.num_attention_heads == n_heads


@torch.no_grad()
def test_a_folder_of_a_masked_autoencoder_sees_every_patch(mae, retfound, write, tmp_path, photo):
    write(mae, tmp_path, size=64)
    folder, file = (FoundationEncoder(str(path)).backbone for path in (tmp_path, retfound))
    prepared = folder.photo_input(photo)
    torch.testing.assert_close(folder(prepared), file(prepared))
    larger = FoundationEncoder(str(retfound), width_px=96)
    assert larger.backbone(larger.backbone.photo_input(photo))[0].shape[-1] == 6 and larger.width_px == 96


@torch.no_grad()
def test_convnext_gives_the_stages_of_transformers(convnext, transformers, photo):
    encoder = FoundationEncoder(str(convnext))
    theirs = transformers.ConvNextBackbone.from_pretrained(convnext, out_indices=[1, 2, 3, 4]).eval()
    prepared = by_hand(photo, 64, "bilinear")
    maps = encoder(photo)
    assert [tuple(each.shape[1:]) for each in maps] == [(8, 16, 16), (12, 8, 8), (16, 4, 4), (24, 2, 2)]
    # Its backbone normalises each place with weights that nobody has trained: ones and zeros.
    for mine, other in zip(maps, theirs(prepared).feature_maps, strict=True):
        torch.testing.assert_close(mine, other)


def test_a_photo_is_prepared_as_the_library_prepares_it(dinov2, transformers):
    prepare = FoundationEncoder(str(dinov2)).backbone.photo_input
    # Away from black and white: between the two directions it cuts off what lies beyond a byte.
    levels = torch.randint(64, 192, (90, 90, 3), dtype=torch.uint8)
    picture = Image.fromarray(levels.numpy())
    theirs = transformers.BitImageProcessorPil.from_pretrained(dinov2)
    # The whole photo, and not the centre of a larger one.
    wanted = theirs(picture, do_center_crop=False, size={"height": 42, "width": 42}, return_tensors="pt")
    mine = prepare(levels.permute(2, 0, 1)[None] / 255)
    off = 255 * (mine - wanted.pixel_values).abs() * DEVIATION.view(3, 1, 1)
    # It rounds to bytes after rows and after columns, with bicubic weights whose absolute values sum to 1.3.
    assert off.mean() < 0.5 and off.max() < 1.5


def test_maps_span_the_whole_photo(convnext):
    assert build_encoder(str(convnext), width_px=96).backbone.reductions == (4, 8, 16, 32)
    with pytest.raises(ValueError, match="encoder_px: expected a multiple of the coarsest map's 32 pixels"):
        build_encoder(str(convnext), width_px=100)


def trained(network):
    return {name for name, weight in network.named_parameters() if weight.requires_grad}


def gradients(encoder, photo):
    """Names of the weights of the network to which a gradient comes."""
    sum(each.square().mean() for each in encoder(photo)).backward()
    return {name for name, weight in encoder.backbone.named_parameters() if weight.grad is not None}


def test_what_is_trained(dinov2, photo):
    frozen, last, whole = (build_encoder(str(dinov2), how) for how in (False, 2, True))
    assert trained(frozen.backbone) == set() and all(one.requires_grad for one in frozen.pyramid.parameters())
    assert gradients(frozen, photo) == set()
    blocks = {name.split(".")[3] for name in trained(last.backbone)}
    assert blocks == {"3", "4"} and all(".layer." in name for name in trained(last.backbone))
    assert gradients(last, photo) == trained(last.backbone)
    assert trained(whole.backbone) == set(dict(whole.backbone.named_parameters()))
    assert len(gradients(whole, photo)) > 0.95 * len(trained(whole.backbone))


@pytest.mark.parametrize("name", ["dinov2", "retfound", "convnext"])
def test_lora_trains_its_own_weights_alone(name, request, photo):
    pytest.importorskip("peft", reason='pip install "fund2oct[foundation]"')
    path = str(request.getfixturevalue(name))
    plain, lora = build_encoder(path), build_encoder(path, lora_rank=3)
    if lora.pyramid:
        lora.pyramid.load_state_dict(plain.pyramid.state_dict())
    for mine, other in zip(lora(photo), plain(photo), strict=True):
        torch.testing.assert_close(mine, other)  # it begins at the weights as they are
    names = trained(lora.backbone)
    assert names and all("lora_" in one for one in names)
    before = {one: weight.clone() for one, weight in lora.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([one for one in lora.parameters() if one.requires_grad], 1.0)
    for _ in range(2):  # the second factor begins at zero, and the first one waits for it
        assert gradients(lora, photo) == names
        optimizer.step()
    moved = {one for one, weight in lora.backbone.state_dict().items() if not weight.equal(before[one])}
    assert {one for one in names if "lora_B" in one} <= moved <= names
    assert any("lora_A" in one for one in moved)
    copied = copy.deepcopy(lora)  # as the averaged generator does
    assert torch.equal(copied(photo)[0], lora(photo)[0])


def test_what_cannot_be_trained_is_said(dinov2):
    for options, message in (
        ({"fine_tune": 6}, "expected true, false or up to 5 of its blocks, found 6"),
        ({"fine_tune": -1}, "up to 5 of its blocks, found -1"),
        ({"fine_tune": 2, "lora_rank": 4}, "choose one; LoRA leaves the weights alone"),
        ({"lora_rank": -4}, "expected 0 for none or a positive rank, found -4"),
        ({"width_px": 50}, "expected a multiple of the patch's 14 pixels, found 50"),
    ):
        with pytest.raises(ValueError, match=message):
            build_encoder(str(dinov2), **options)
    for options in ({"fine_tune": 2}, {"lora_rank": 4}):
        with pytest.raises(ValueError, match="encoder own: expected fine_tune true or false"):
            build_encoder("own", **options)


PHOTO, CONFIG, WEIGHTS = "preprocessor_config.json", "config.json", "model.safetensors"


def changed(name, **values):
    """What sets values of a file, or takes out those that are None."""

    def spoil(folder):
        config = json.loads((folder / name).read_text()) | values
        kept = {key: value for key, value in config.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return spoil


def without_a_weight(folder):
    weights = load_file(folder / WEIGHTS)
    del weights["encoder.layer.1.mlp.fc1.weight"]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / PHOTO).unlink(), f"has no {PHOTO}, which says at which size"),
        (lambda folder: (folder / PHOTO).write_text("{"), f"{PHOTO}: Expecting property name"),
        (changed(PHOTO, image_mean=[0.5]), "a mean and a positive deviation for each of three colours"),
        (changed(PHOTO, crop_size=None), "'crop_size' is missing or unknown; expected what the weights"),
        (changed(PHOTO, resample=1), "1 is missing or unknown"),
        (lambda folder: (folder / CONFIG).write_text("{"), f"{CONFIG}: damaged"),
        (changed(CONFIG, model_type="bert"), "expected a model_type out of dinov2, .*, found 'bert'"),
        (changed(CONFIG, model_type=None), "the model_type of transformers or the architecture of timm"),
        (changed(CONFIG, hidden_size=32), r"weights are missing or of another shape .embeddings\."),
        (lambda folder: (folder / WEIGHTS).unlink(), f"expected {CONFIG} and {WEIGHTS}, .*, found {CONFIG}"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"no"), "damaged, or not what its config.json says"),
        (without_a_weight, "1 weights are missing or of another shape .encoder.layer.1.mlp.fc1.weight"),
    ],
)
def test_a_broken_folder_is_refused_by_name(spoil, message, dinov2, tmp_path):
    folder = tmp_path / "dinov2"
    shutil.copytree(dinov2, folder)
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        build_encoder(str(folder))
    assert str(folder) in str(caught.value)


def test_a_file_of_another_layout_is_refused(tmp_path):
    class Spring:
        def __reduce__(self):
            return print, ("sprung",)

    for content, message in (
        (
            {"model": {"conv.weight": torch.rand(2, 2)}},
            "expected the layout of MAE and RETFound .*conv.weight",
        ),
        ({"model": Spring()}, "holds more than tensors and plain values, which could run code; refused"),
        (torch.rand(2), "expected tensors by name, found a Tensor"),
    ):
        torch.save(content, tmp_path / "theirs.pth")
        with pytest.raises(ValueError, match=message):
            build_encoder(str(tmp_path / "theirs.pth"))


def test_nothing_is_asked_of_the_network(dinov2, retfound, convnext, monkeypatch):
    asked = []

    def refuse(*arguments, **options):
        asked.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for path in (dinov2, retfound, convnext):
        assert FoundationEncoder(str(path)).channels
    assert not asked
