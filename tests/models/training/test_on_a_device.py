"""A training step on a device that holds nothing: what stays behind, or is read back, is refused."""

import traceback

import pytest
import pytorch_lightning as pl
import torch
from tiny_models import TINY_PIX2VOL, quick_trainer
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fund2oct.data import FundusOCTDataModule
from fund2oct.models import Pix2Vol, VoxelGAN
from fund2oct.models.task import Task
from fund2oct.networks.features import EfficientNetLite0, EfficientNetLite1
from fund2oct.networks.features.base import weights_follow
from fund2oct.networks.noise import NoiseSource

SHAPE = (6, 32, 48)
# Of a torch without CUDA only this device can be faked through a backward pass. Tensors of two devices in
# one operation are refused on it as on a GPU, and so is every read of a value.
DEVICE = torch.device("meta")


@pytest.fixture(scope="module")
def data(tiny_eyes):
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, symmetries="all", photo_maps=0.5)
    data.setup()
    return data


def there(value):
    empty = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=DEVICE)
    return nn.Parameter(empty, value.requires_grad) if isinstance(value, nn.Parameter) else empty


def move(model):
    """As ``to`` does it: parameters and buffers, each once, and nothing else."""
    made = {id(value): there(value) for value in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            table |= {name: made[id(value)] for name, value in table.items() if value is not None}
    model._device = DEVICE


aten = torch.ops.aten
READING = {aten._local_scalar_dense, aten.equal, aten.nonzero}
COPYING = {aten._to_copy, aten.copy_, aten.index}


class Waits(TorchDispatchMode):
    """Finds what makes the program wait until a GPU has done all that it was told.

    That is reading a value, copying from one device to another but with ``non_blocking``, and
    ``torch.tensor`` on a device, which is such a copy.
    """

    def __init__(self, optimizers=()):
        super().__init__()
        self.states = [optimizer.state for optimizer in optimizers]
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function.overloadpacket in READING:
            # Adam counts its steps on the CPU, whatever device it steps.
            waits = not any(args[0] is one["step"] for state in self.states for one in state.values())
        else:
            given = [value for value in tree_leaves(args) if isinstance(value, torch.Tensor)]
            waits = function.overloadpacket in COPYING and any(value.device != out.device for value in given)
            waits |= any(value.device == DEVICE and not isinstance(value, FakeTensor) for value in given)
        if waits and not (kwargs or {}).get("non_blocking"):
            self.found.append(f"{function}\n{''.join(traceback.format_stack(limit=9)[:-1])}")
        return out


@pytest.mark.parametrize(
    ("make", "shares"),
    [
        pytest.param(
            lambda: Pix2Vol(SHAPE, encoder="efficientnet_lite0"), (0.0, 1.0), marks=pytest.mark.slow
        ),
        (lambda: Pix2Vol(SHAPE, encoder="own", position="rope"), (0.0,)),
        (lambda: VoxelGAN(SHAPE, channels=(8, 8, 16), n_layers=2), (1.0,)),
    ],
    ids=["pix2vol, before and after the adversaries join", "pix2vol with attention", "voxels"],
)
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_step_leaves_nothing_behind_and_reads_nothing_back(data, monkeypatch, make, shares):
    for network in (EfficientNetLite0, EfficientNetLite1):  # the same code, in a third of the layers
        monkeypatch.setattr(network, "stages", tuple(stage._replace(blocks=1) for stage in network.stages))
    with weights_follow():
        model = make()
        model.configure_model()
        model.configure_training()
    model.task, share = Task.of(data, SHAPE), 0.0
    monkeypatch.setattr(model, "share_done", lambda step=None: share)
    monkeypatch.setattr(model, "step_noise", NoiseSource)
    monkeypatch.setattr(model, "log_dict", lambda *_: None)  # needs a running loop; see the next test
    monkeypatch.setattr(model, "_check_finite", lambda: None)  # reads, every log_every_n_steps
    model.trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    model.trainer.strategy._lightning_module = model
    raw = data.train_dataset.fetch(list(data.train_dataloader().sampler)[:2])
    with FakeTensorMode(allow_non_fake_inputs=True):  # tensors of shape, type and device, without values
        move(model)
        model.trainer.strategy.setup_optimizers(model.trainer)
        for share in shares:  # noqa: B007 (asked for by the model)
            with Waits(model.trainer.optimizers) as waits:
                model.training_step(data._finish(raw._each(there)), 0)
            assert not waits.found, "\n".join(waits.found)
    for name, value in model.named_parameters():
        assert value.device == DEVICE
        assert value.grad is None or value.grad.device == DEVICE, name


class CountWaits(pl.Callback):
    """The waits of each batch, those of the logging among them."""

    def __init__(self):
        self.found = []

    def on_train_batch_start(self, trainer, module, *_):
        self._waits = Waits(trainer.optimizers)
        self._waits.__enter__()

    def on_train_batch_end(self, trainer, module, *_):
        self._waits.__exit__(None, None, None)
        self.found.append(self._waits.found)


def test_nothing_is_read_in_a_step_with_all_that_lightning_does(tiny_eyes):
    counting = CountWaits()
    trainer = quick_trainer(max_steps=4, limit_val_batches=0, log_every_n_steps=1, callbacks=[counting])
    model = Pix2Vol(SHAPE, adversaries_from=0.5, **TINY_PIX2VOL)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    assert model.adversaries_joined and len(counting.found) == 4
    assert not any(counting.found), "\n".join(counting.found[0] + counting.found[2])
    with Waits() as waits:
        assert torch.ones(1) > 0
    assert len(waits.found) == 1
