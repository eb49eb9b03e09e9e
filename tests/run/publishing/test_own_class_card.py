"""The card of a model of a user's own class, and what of its weights the folder does not hold."""

import torch
from torch import nn

from fund2oct.cli import main
from fund2oct.models import Pix2Vol
from fund2oct.networks.encoder import PretrainedEncoder
from fund2oct.networks.features import FeatureNetwork
from fund2oct.networks.features.base import weights_follow
from fund2oct.run.publishing.writing import _not_learned


class OnFrozen(Pix2Vol):
    """A class of a user's own, whose encoder is frozen and built by its code."""

    def build_generator(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = super().build_generator()
        made.encoder.requires_grad_(False)
        return made

    def rebuilt(self):
        return ("generator.encoder.",)


def test_the_card_of_a_class_of_ones_own_names_it(tiny_checkpoint, tmp_path, capsys):
    contents, path = torch.load(tiny_checkpoint, weights_only=True), f"{__name__}.OnFrozen"
    contents["fund2oct"]["class"] = path
    encoder = "generator.encoder.", "generator_ema.module.encoder."
    state = contents["state_dict"].items()
    contents["state_dict"] = {name: value for name, value in state if not name.startswith(encoder)}
    torch.save(contents, tmp_path / "own.ckpt")
    command = ["publish", str(tmp_path / "own.ckpt"), str(tmp_path / "mine"), "--model", path]
    assert main(command) == 0
    assert f"PHOTO.jpg --out predictions --model {path}" in capsys.readouterr().out
    card = (tmp_path / "mine/README.md").read_text()
    assert f"It is a `{path}`, a class of its author's own" in card and "a `OnFrozen` of fund2oct" not in card
    assert f"fund2oct predict mine PHOTO.jpg --out predictions --model {path}\n" in card
    assert f"import fund2oct\nfrom {__name__} import OnFrozen\n\nmodel = fund2oct" in card
    assert 'load_model("mine", OnFrozen)' in card and "pretrained" not in card
    assert "the file of weights of which its `generator.encoder` is built: the code of" in card
    assert "holds all" not in card
    assert main([*command, "--with-encoder", "--overwrite"]) == 0
    assert "holds all weights that use needs" in (tmp_path / "mine/README.md").read_text()


def test_weights_that_were_not_learned_are_told_apart():
    class Colours(FeatureNetwork):
        name = "colours"

        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)
            self._freeze()

    with weights_follow():
        encoder = PretrainedEncoder(width_px=64)
    network = nn.Module()
    network.generator = nn.ModuleDict({"encoder": encoder, "colours": Colours(), "head": nn.Linear(2, 1)})
    network.rebuilt_names = lambda: {name for name in network.state_dict() if ".head." not in name}
    assert _not_learned(network) == (["efficientnet_lite0"], ["generator.colours"])
    network.rebuilt_names = set  # all of it was trained, and is built of its package all the same
    assert _not_learned(network) == (["efficientnet_lite0"], [])
