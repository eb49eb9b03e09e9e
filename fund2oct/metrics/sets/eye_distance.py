"""What every distance between the features of real and of generated eyes does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor
from torchmetrics import Metric

from fund2oct.metrics.sets.estimate import DistanceResult, SetDistance, compare_eyes
from fund2oct.metrics.sets.eye_records import (
    EyeRecords,
    GatheredEyes,
    Size,
    check_same_eyes,
    check_same_size,
    gather_eyes,
    key_hash,
    no_records,
    record_eyes,
)
from fund2oct.metrics.sets.frechet import frechet_distance
from fund2oct.metrics.sets.kernel import kernel_distance
from fund2oct.metrics.sets.resize import Resize, check_resize, resize_images
from fund2oct.networks.features import MEASURES, FeatureNetwork, load_feature_network
from fund2oct.precision import no_autocast

Role = Literal["real", "fake", "rescan"]
"""Real volumes, generated ones, and rescans of the real ones."""

_ROLES = ("real", "fake", "rescan")
_KINDS: dict[str, SetDistance] = {"frechet": frechet_distance, "kernel": kernel_distance}


class EyeComparison(NamedTuple):
    """A distance that is ready to be computed; see :func:`fund2oct.metrics.sets.estimate.compare_eyes`."""

    name: str
    kind: str | SetDistance
    real: Tensor
    fake: Tensor
    rescan: Tensor | None
    shuffled: Tensor | None
    paired: bool
    patients: tuple[str, ...]
    resamples: int
    seed: int
    constant_slices: int

    def compute(self) -> DistanceResult:
        """The distance."""
        result = compare_eyes(
            self.name,
            _KINDS[self.kind] if isinstance(self.kind, str) else self.kind,
            self.real,
            self.fake,
            rescan=self.rescan,
            shuffled=self.shuffled,
            paired=self.paired,
            patients=self.patients,
            resamples=self.resamples,
            seed=self.seed,
        )
        return result._replace(constant_fake_slices=self.constant_slices)


class EyeDistance(Metric):
    """Distance between the features of real and of generated eyes."""

    full_state_update = False
    higher_is_better = False
    is_differentiable = False
    patients: Mapping[str, str] = {}
    """Patients of the eyes by the eyes' names. For the interval the eyes of one are drawn together. An eye
    that is not named counts as one of another patient."""
    _subject: ClassVar[str]
    _ndim: ClassVar[int]

    def __init__(
        self,
        network: FeatureNetwork | str = MEASURES["image"],
        output: str | None = None,
        kind: Literal["frechet", "kernel"] | SetDistance = "frechet",
        resize: Resize = "antialias",
        paired: bool = True,
        resamples: int = 200,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(network, str):
            network = load_feature_network(network)
        if not isinstance(network, FeatureNetwork):
            raise ValueError(
                f"network: expected a FeatureNetwork or its name, found a {type(network).__name__}; "
                "wrap it as fund2oct.networks.features.UserNetwork"
            )
        if network.ndim != self._ndim:
            raise ValueError(
                f"network: {network.name} takes {network.ndim}-D input, expected {self._ndim}-D; "
                "ImageDistance takes a network of images, VideoDistance one of videos"
            )
        if isinstance(kind, str) and kind not in _KINDS:
            raise ValueError(f"kind: expected {', '.join(_KINDS)} or a function, found {kind!r}")
        if resamples < 0:
            raise ValueError(f"resamples: expected 0 or more, found {resamples}")
        check_resize(resize)
        self.output = next(iter(network.num_features)) if output is None else output
        if self.output not in network.num_features:
            raise ValueError(
                f"output: {network.name} has {', '.join(network.num_features)}, found {self.output!r}"
            )
        # A tuple hides it from nn.Module: it belongs into no checkpoint and no optimiser.
        self._hidden = (network,)
        self.kind, self.resize, self.paired, self.resamples, self.seed = kind, resize, paired, resamples, seed
        for role in _ROLES:
            for state in self._states(role):
                self.add_state(state, [], dist_reduce_fx="cat")
        self._gathered: dict[str, GatheredEyes] = {}

    @property
    def network(self) -> FeatureNetwork:
        """The feature network."""
        return self._hidden[0]

    @property
    def name(self) -> str:
        """Name of the distance and its protocol; without the volumes' size as long as none was given."""
        return self._name(self._first_size())

    def update(self, volume: Tensor, role: Role, keys: Sequence[str]) -> None:
        """Add eyes.

        Args:
            volume: intensities in [0, 1], shape ``(B, 1, S, Z, X)``. Rounding errors beyond are clamped.
            role: ``"real"`` or ``"fake"`` for real or generated volumes, ``"rescan"`` for rescans.
            keys: names of the eyes, the same for the real and the generated volume of an eye. An eye may be
                given twice, as padded distributed samplers do; it counts once.

        Raises:
            ValueError: if the volumes are not finite, leave [0, 1] or are of another size than those
                before, if a real B-scan is of one grey value, or if the network finds too few frames.
        """
        self._gathered.clear()
        if role not in _ROLES:
            raise ValueError(f"role: expected one of {', '.join(_ROLES)}, found {role!r}")
        records = record_eyes(volume, keys, role)
        size = self._first_size() or tuple(volume.shape[2:])
        check_same_size(role, str(keys[0]), tuple(volume.shape[2:]), size)
        volume = volume.to(self.device, torch.float32).clamp(0, 1)
        # One eye at a time, so that no rounding depends on the batch's size.
        with no_autocast(volume.device):
            features = [self._rows(eye[None], role, key) for eye, key in zip(volume, keys, strict=True)]
        for key, rows in zip(keys, features, strict=True):
            if not rows.isfinite().all():
                raise ValueError(
                    f"{role} eye {key!r}: {self.network.name} gives features that are not finite"
                )
        values = (torch.cat(features), records.numbers.to(self.device), records.names.to(self.device))
        for state, value in zip(self._states(role), values, strict=True):
            getattr(self, state).append(value)

    def take(self, other: EyeDistance, role: Role, as_role: Role | None = None) -> None:
        """Copy the features of eyes from another distance of the same protocol.

        Args:
            other: the distance that has them.
            role: role of the eyes in the other distance.
            as_role: role that they get here; None keeps it.
        """
        for there, here in zip(self._states(role), self._states(as_role or role), strict=True):
            getattr(self, here).extend(getattr(other, there))

    def compute(self) -> DistanceResult:
        """Compare the eyes that all processes were given.

        Returns:
            The distance with its error, floor and controls.

        Raises:
            ValueError: if a side has fewer than two eyes, the volumes are of different sizes, one
                eye was given with different volumes, or the sides do not hold the same eyes.
        """
        self._gathered.clear()  # the states are those of all processes now
        comparison = self.comparison()
        self._gathered.clear()
        if comparison.constant_slices:
            warnings.warn(
                f"{comparison.name}: {comparison.constant_slices} generated B-scans are of one grey value",
                stacklevel=2,
            )
        return comparison.compute()

    def reset(self) -> None:
        """Forget all eyes."""
        self._gathered.clear()
        super().reset()

    def comparison(self, beside: EyeDistance | None = None) -> EyeComparison:
        """The checked input of :meth:`compute`, without the network, so that another process can compute.

        Args:
            beside: another distance of the same protocol, whose real eyes and rescans are used
                instead of this one's. So several distances share the features of the real eyes.

        Returns:
            Features and settings, ready to be computed.

        Raises:
            ValueError: in the same cases as :meth:`compute`.
        """
        source = self if beside is None else beside
        real, rescan, fake = source.gathered("real"), source.gathered("rescan"), self._eyes("fake")
        name = self._name(real.size)
        for role, eyes in (("real", real), ("fake", fake)):
            if len(eyes.names) < 2:
                raise ValueError(f"{name}: expected at least two {role} eyes, found {len(eyes.names)}")
        assert real.size is not None
        for role, eyes in (("fake", fake), ("rescan", rescan)):
            if eyes.size is not None:
                check_same_size(role, next(iter(eyes.names.values())), eyes.size, real.size)
        if self.paired:
            check_same_eyes(real, fake, "fake", "answer each real eye, or compare with paired=False")
        if rescan.names:
            check_same_eyes(real, rescan, "rescan", "render each real eye a second time, or none")
        features, shuffled = self._without_control(real.features)
        patients = {key_hash(key): patient for key, patient in source.patients.items()}
        return EyeComparison(
            name,
            self.kind,
            features,
            fake.features,
            rescan.features if rescan.names else None,
            shuffled,
            self.paired,
            tuple(patients.get(number, str(number)) for number in real.names),
            self.resamples,
            self.seed,
            fake.constant_slices,
        )

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the eyes of all processes, of which some may have none."""
        for role in _ROLES:
            for state, empty in zip(self._states(role), self._nothing(), strict=True):
                if not getattr(self, state):
                    getattr(self, state).append(empty)
        super().sync(*args, **kwargs)

    def gathered(self, role: Role) -> GatheredEyes:
        """The features of all eyes of a role, sorted by the hash of their keys."""
        if role not in self._gathered:
            self._gathered[role] = self._eyes(role)
        return self._gathered[role]

    def _rows(self, volume: Tensor, role: str, key: str) -> Tensor:
        """Feature vectors of one eye ``(1, 1, S, Z, X)``, shape ``(rows, d)``."""
        raise NotImplementedError

    def _without_control(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """The real eyes' features, and those of their shuffled volumes where there are any."""
        return features, None

    def _features(self, images: Tensor) -> Tensor:
        """Features of the resized images ``(N, 1, Z, X)``, taken as one video by a 5-D network."""
        if self.network.size is not None:
            images = resize_images(images, self.network.size, self.resize)
        if self._ndim == 5:
            images = images.transpose(0, 1)[None]
        found = self.network.features(images)[self.output].float()
        expected = self.network.num_features[self.output]
        if found.shape[1] != expected:
            raise ValueError(
                f"{self.network.name}: expected {expected} features of any input, found {found.shape[1]}; "
                "their number must depend neither on the slices nor on their size"
            )
        return found

    def _name(self, size: Size | None) -> str:
        parts = [self._subject, f"{self.network.name}-{self.output}"]
        if self.network.size is not None:
            height, width = self.network.size
            parts.append(f"{self.resize}{height}" if height == width else f"{self.resize}{height}x{width}")
        elif size is not None:
            parts.append(f"{size[1]}x{size[2]}")
        parts += self._name_end(size)
        kind = self.kind if isinstance(self.kind, str) else self.kind.__name__
        return "/".join(parts if kind == "frechet" else [*parts, kind])

    def _name_end(self, size: Size | None) -> list[str]:
        return []

    def _states(self, role: str) -> tuple[str, str, str]:
        return f"{role}_features", f"{role}_numbers", f"{role}_names"

    def _nothing(self) -> tuple[Tensor, Tensor, Tensor]:
        """The states without an eye."""
        features = torch.zeros(0, self.network.num_features[self.output], device=self.device)
        return features, *no_records(self.device)

    def _eyes(self, role: str) -> GatheredEyes:
        gathered = []
        for state, empty in zip(self._states(role), self._nothing(), strict=True):
            value = getattr(self, state)
            gathered.append(torch.cat([empty, *value]) if isinstance(value, list) else value)
        features, numbers, names = gathered
        return gather_eyes(features, EyeRecords(numbers, names), role)

    def _first_size(self) -> Size | None:
        for role in _ROLES:
            for numbers in getattr(self, f"{role}_numbers"):
                if len(numbers):
                    return tuple(numbers[0, 1:4].tolist())
        return None

    def _apply(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Self:
        # The network moves along but keeps its precision: halves would give another distance.
        self.network._apply(lambda tensor: tensor.to(fn(tensor.new_empty(0)).device))
        super()._apply(fn, *args, **kwargs)
        return self
