"""Noise of a network that depends on the eye, and not on the batch that the eye is in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class NoiseSource:
    """Source of the noise of a batch of eyes, with a random generator for each of them.

    A network is called with one source for the whole batch, and takes noise from it wherever it needs some.
    The noise of an eye then does not depend on which other eyes are in the batch, nor on their order.

    Args:
        rngs: one random generator for each eye, in the order of the batch, or a single one for all eyes
            together, as in training. Without any, torch's global generator is used.

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
        """Make a source that draws the same noise whenever it is made for the same eyes and seed.

        Args:
            keys: names of the eyes, in the order of the batch.
            seed: seed of the noise; another seed gives other noise.
            device: device on which the network runs. Another kind of device draws other numbers.

        Returns:
            The source.
        """
        return cls([torch.Generator(device).manual_seed(eye_seed(key, seed)) for key in keys])

    def randn(
        self,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw independent normal numbers of mean 0 and standard deviation 1.

        Args:
            shape: shape of the result. Its first dimension holds the eyes, ``(B, ...)``, or the slices of all
                eyes, ``(B * S, ...)``.
            device: device of the result, the same as that of the generators.
            dtype: type of the result.

        Returns:
            Noise of that shape.

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
    """A source that gives zeros, to see what a network draws without noise.

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
        """Return zeros of a shape; the arguments are those of :meth:`NoiseSource.randn`."""
        return torch.zeros(*shape, device=device, dtype=dtype)


def eye_seed(key: str, seed: int = 0) -> int:
    """Seed for the random numbers of one eye.

    Args:
        key: name of the eye.
        seed: seed of the whole set; another one gives another seed for the same eye.

    Returns:
        A whole number in [0, 2**56), the same on every machine.

    Example:
        >>> eye_seed("sim-0000032-OD") == eye_seed("sim-0000032-OD", seed=1)
        False
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:7], "little")
