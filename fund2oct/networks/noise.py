"""Where a network's noise comes from, so that an eye's volume belongs to the eye."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class NoiseSource:
    """Draws the noise of a batch of eyes, each from random numbers of its own.

    A network is called with one source for the whole batch and asks it at every place where noise
    enters. An eye's draws then depend on its own random numbers and on the shapes that were asked for,
    neither on the other eyes of the batch nor on its place among them.

    Args:
        rngs: one generator for each eye, in the order of the batch, or one for all eyes together, as
            in training. None at all means torch's own, which cannot be repeated.

    Example:
        >>> noise = NoiseSource.of_keys(["left", "right"], seed=0)
        >>> noise.randn((2, 5)).shape  # a vector for each eye
        torch.Size([2, 5])
        >>> noise.randn((2 * 6, 1, 32, 48)).shape  # two eyes of six slices, folded
        torch.Size([12, 1, 32, 48])
        >>> alone = NoiseSource.of_keys(["right"], seed=0)
        >>> torch.equal(alone.randn((1, 5)), NoiseSource.of_keys(["left", "right"]).randn((2, 5))[1:])
        True
    """

    def __init__(self, rngs: Sequence[torch.Generator] = ()) -> None:
        self.rngs = tuple(rngs)

    @classmethod
    def of_keys(cls, keys: Sequence[str], seed: int = 0, device: torch.device | str = "cpu") -> NoiseSource:
        """A source for known eyes: the same eye and seed draw the same noise everywhere.

        Args:
            keys: of the eyes, in the order of the batch.
            seed: another seed gives other noise.
            device: where the networks run; another kind of device draws other numbers.
        """
        return cls([torch.Generator(device).manual_seed(eye_seed(key, seed)) for key in keys])

    def randn(
        self,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw white noise of mean 0 and deviation 1.

        Args:
            shape: its first dimension holds the eyes, or the eyes and their slices folded,
                :math:`(B, ...)` or :math:`(B S, ...)`.
            device: where the source's generators are.
            dtype: of the noise.

        Raises:
            ValueError: if the first dimension cannot be shared out among the eyes.
        """
        if not self.rngs:
            return torch.randn(*shape, device=device, dtype=dtype)
        rows, beyond = divmod(shape[0], len(self.rngs))
        if beyond:
            raise ValueError(
                f"noise: expected a multiple of {len(self.rngs)} rows, as many as there are eyes, "
                f"found {shape[0]}"
            )
        drawn = [
            torch.randn(rows, *shape[1:], generator=rng, device=device, dtype=dtype) for rng in self.rngs
        ]
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)


class NoNoise(NoiseSource):
    """Noise switched off: zeros. What a network draws from them is its answer without chance.

    Example:
        >>> NoNoise().randn((2, 3)).any()
        tensor(False)
    """

    def randn(
        self,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Zeros of the shape."""
        return torch.zeros(*shape, device=device, dtype=dtype)


def eye_seed(key: str, seed: int = 0) -> int:
    """A seed for the random numbers of one eye, in [0, 2**56).

    Args:
        key: of the eye.
        seed: another seed gives other random numbers for the same eye.

    Example:
        >>> eye_seed("sim-0000032-OD") == eye_seed("sim-0000032-OD", seed=1)
        False
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
