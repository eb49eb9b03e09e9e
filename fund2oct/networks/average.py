"""A moving average of a network's weights, which is validated and used in place of the network."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn


class AveragedNetwork(nn.Module):
    r"""A network whose weights follow those of another as an exponential moving average.

    .. math:: \bar w \leftarrow d \, \bar w + (1 - d) \, w

    for the average :math:`\bar w`, the weights :math:`w` of the network and the decay :math:`d`. Weights that
    are not trained (``requires_grad`` is False when the average is built), such as those of a frozen encoder,
    are shared with the network. Buffers are copied at each update, where the average has one of the same name
    and shape: a network may make some, or change their size, when it is called. It stays in evaluation mode,
    whatever :meth:`train` is called with: it is used and never trained.

    Args:
        network: the network whose weights are averaged.

    References:
        Karras et al., Progressive growing of GANs, ICLR 2018, arXiv:1710.10196, section 6.2.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> averaged = AveragedNetwork(network)
        >>> _ = network.weight.data.zero_()
        >>> averaged.update(network, decay=0.0)
        >>> averaged(torch.ones(1, 2)).equal(network(torch.ones(1, 2)))
        True
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # What is in the memo is taken over as it is.
        frozen = {id(weight): weight for weight in network.parameters() if not weight.requires_grad}
        self.module = copy.deepcopy(network, frozen).requires_grad_(False)
        self.n_updates = 0
        """How often it has moved towards a network."""
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, *args: Any, **options: Any) -> Any:
        """Call the averaged network."""
        return self.module(*args, **options)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Move the average towards the network by one step.

        Args:
            network: the network whose weights are averaged.
            decay: share of the old average that is kept, in [0, 1]; 0 copies the network.
        """
        averaged, current = _apart(zip(self.module.parameters(), network.parameters(), strict=True))
        if averaged:
            torch._foreach_lerp_(averaged, current, 1 - decay)
        now = _buffers(network)
        averaged, current = _apart(
            (mine, now[name])
            for name, mine in _buffers(self.module).items()
            if name in now and mine.shape == now[name].shape
        )
        if averaged:
            torch._foreach_copy_(averaged, current)
        self.n_updates += 1


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    """Buffers by their names, without the level that ``torch.compile`` puts into these."""
    return {name.replace("_orig_mod.", ""): buffer for name, buffer in network.named_buffers()}


def _apart(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """The first and the second of pairs, but of those that are one and the same."""
    pairs = [(mine, other) for mine, other in pairs if mine is not other]
    return [mine for mine, _ in pairs], [other for _, other in pairs]
