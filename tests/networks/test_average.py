"""The averaged network."""

import doctest

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fund2oct.networks import average
from fund2oct.networks.average import AveragedNetwork


class Operations(TorchDispatchMode):
    """Counts what is asked of the device."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def network():
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), *(nn.Linear(4, 4) for _ in range(20)))
    made[2].requires_grad_(False)
    return made


def moved(network):
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight.add_(torch.rand_like(weight))
    network[1].running_mean += 1
    network[1].num_batches_tracked += 5


def test_the_examples_run():
    assert doctest.testmod(average).failed == 0


def test_trained_weights_are_averaged_buffers_copied_and_frozen_ones_shared():
    followed = network()
    averaged = AveragedNetwork(followed)
    before = {name: weight.clone() for name, weight in averaged.module.named_parameters()}
    moved(followed)
    averaged.update(followed, 0.75)
    now = dict(followed.named_parameters())
    for name, weight in averaged.module.named_parameters():
        assert not weight.requires_grad
        assert (weight is now[name]) == name.startswith("2.")
        torch.testing.assert_close(weight, 0.75 * before[name] + 0.25 * now[name])
    for mine, other in zip(averaged.module.buffers(), followed.buffers(), strict=True):
        assert torch.equal(mine, other) and mine is not other
    assert all(weight.requires_grad for weight in followed[0].parameters())


def test_nothing_is_read_from_the_device_and_no_weight_is_updated_by_itself():
    followed = network()
    averaged = AveragedNetwork(followed)
    moved(followed)
    with Operations() as operations:
        averaged.update(followed, 0.5)
    assert not [name for name in operations.names if "scalar_dense" in name or "item" in name]
    assert len(operations.names) < 10


def test_it_answers_as_the_network_does():
    followed = network().eval()
    averaged = AveragedNetwork(followed).eval()
    moved(followed)
    averaged.update(followed, 0.0)
    x = torch.rand(5, 3)
    assert torch.equal(averaged(x), followed(x))
    assert float(followed(x).std()) != pytest.approx(0)


def test_it_stays_in_evaluation_mode():
    """Whoever asks it in a training, as for the photos that a model knows, gets what it gives in use."""
    followed = network()
    averaged = AveragedNetwork(followed)
    nn.ModuleList([followed, averaged]).train()
    assert followed[1].training and not any(part.training for part in averaged.modules())
    mean = averaged.module[1].running_mean.clone()
    averaged(torch.rand(5, 3))
    assert torch.equal(averaged.module[1].running_mean, mean)


class Growing(nn.Module):
    """A network that makes a buffer when it is called, changes the size of one, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.register_buffer("table", torch.zeros(2), persistent=False)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        if not hasattr(self, "seen"):
            self.register_buffer("seen", x.mean(0), persistent=False)
        if len(self.table) != len(x):
            self.table = torch.arange(float(len(x)))
        self.count += 1
        return self.layer(x)


def test_buffers_that_a_call_makes_or_resizes_are_copied_once_both_have_them():
    followed = Growing()
    averaged = AveragedNetwork(followed)
    followed(torch.rand(5, 3))
    with torch.no_grad():
        followed.layer.weight.add_(1)
    averaged.update(followed, 0.0)
    assert torch.equal(averaged.module.layer.weight, followed.layer.weight)
    assert averaged.module.count == 1 and averaged.module.table.shape == (2,)
    assert not hasattr(averaged.module, "seen")
    averaged(torch.rand(5, 3))
    followed.seen.fill_(7)
    followed.table.fill_(8)
    averaged.update(followed, 0.0)
    assert averaged.module.seen.tolist() == 3 * [7] and averaged.module.table.tolist() == 5 * [8]


def test_the_level_that_a_compiler_puts_into_names_is_passed_over():
    class Compiled(nn.Module):
        def __init__(self, network):
            super().__init__()
            self._orig_mod = network

    followed = network()
    averaged = AveragedNetwork(followed)
    moved(followed)
    averaged.update(Compiled(followed), 0.0)
    assert torch.equal(averaged.module[1].running_mean, followed[1].running_mean)
    assert torch.equal(averaged.module[0].weight, followed[0].weight)
