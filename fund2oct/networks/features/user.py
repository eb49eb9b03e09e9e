"""Feature networks from elsewhere: any module, a TorchScript file, torchvision, torch-fidelity."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from fund2oct.networks.features.base import FeatureNetwork

Outputs = Tensor | Mapping[str, Tensor] | list[Tensor] | tuple[Tensor, ...]
Call = Callable[[nn.Module, Tensor], Outputs]
_PROBE_SIZE = (224, 224)


class UserNetwork(FeatureNetwork):
    """A feature network made from any module.

    A call returns what the module returns. ``features`` returns it by names: the outputs of a dictionary
    by their keys, those of a list or tuple as ``level1``, ``level2`` and so on, a single tensor as
    ``features``. An output has shape ``(N, d)``, or ``(N, d, ...)``, which is averaged over all further
    dimensions.

    Args:
        network: the module. It is frozen and put into evaluation mode.
        name: name of the network in the name of a distance; None takes the name of its class.
        ndim: 4 if it takes images, 5 if videos.
        size: height and width in pixels to which a distance resizes the input; None does not resize.
        min_frames: least number of frames of a video.
        call: how the module is called, as ``call(network, x)`` with ``x`` in [0, 1] of one or three channels.
            None calls ``network(x)``. A network that takes only colours needs
            ``lambda network, x: network(x.expand(-1, 3, -1, -1))``.

    Raises:
        ValueError: if ``ndim`` is neither 4 nor 5.

    Example:
        >>> network = UserNetwork(nn.Conv2d(1, 8, 3), name="mine", size=(32, 32))
        >>> network.features(torch.rand(2, 1, 32, 32))["features"].shape  # of two B-scans
        torch.Size([2, 8])
    """

    def __init__(
        self,
        network: nn.Module,
        name: str | None = None,
        ndim: int = 4,
        size: tuple[int, int] | None = None,
        min_frames: int = 1,
        call: Call | None = None,
    ) -> None:
        super().__init__()
        if ndim not in (4, 5):
            raise ValueError(f"ndim: expected 4 (images) or 5 (videos), found {ndim}")
        self.network = network
        self.name = (name or type(network).__name__).replace("/", "-")
        self.ndim, self.size, self.min_frames = ndim, size, min_frames
        self._call = call or _plainly
        self._freeze()

    @cached_property
    def num_features(self) -> Mapping[str, int]:
        """Names of the outputs and their lengths, found by calling the module with one grey input."""
        frames = () if self.ndim == 4 else (self.min_frames,)
        weight = next(self.network.parameters(), torch.empty(0))
        grey = torch.full((1, 1, *frames, *(self.size or _PROBE_SIZE)), 0.5, device=weight.device)
        with torch.no_grad():
            return {name: vectors.shape[1] for name, vectors in self._outputs(grey).items()}

    def forward(self, x: Tensor) -> Outputs:
        """Return what the module returns for intensities in [0, 1]."""
        return self._call(self.network, x)

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        try:
            found = self(x)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"{self.name}: failed on an input {tuple(x.shape)}: {reason}") from error
        if isinstance(found, Tensor):
            found = {"features": found}
        elif not isinstance(found, Mapping):
            found = {f"level{number}": level for number, level in enumerate(found, start=1)}
        return {name: self._vectors(name, output, len(x)) for name, output in found.items()}

    def _vectors(self, name: str, output: object, n: int) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != n:
            what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"{self.name}: output {name}: expected a tensor ({n}, d, ...), found {what}")
        return output.flatten(2).mean(2) if output.ndim > 2 else output


def load_torchscript(path: str | Path) -> UserNetwork:
    """Load a network from a TorchScript file.

    Such a file is a program: load it only if you trust its source. The arguments of its ``forward`` decide
    how it is called:

    * with ``rescale``, ``resize`` and ``return_features``, like StyleGAN-V's ``i3d_torchscript.pt``: with
      videos ``(N, 3, T, 224, 224)`` in [-1, 1] of at least ten frames, and
      ``rescale=False, resize=False, return_features=True``;
    * with ``return_features`` alone, like NVIDIA's ``inception-2015-12-05.pt``: with images
      ``(N, 3, H, W)`` of bytes and ``return_features=True``; it resizes them itself;
    * otherwise: with images in [0, 1] of one or three channels.

    For a network that has to be called differently, use :class:`UserNetwork`.

    Args:
        path: the file.

    Returns:
        A feature network named after the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a TorchScript file.

    Example:
        >>> torch.jit.script(nn.Conv2d(1, 8, 3)).save("mine.pt")
        >>> network = load_torchscript("mine.pt")
        >>> network.name, network.features(torch.rand(2, 1, 32, 32))["features"].shape
        ('mine', torch.Size([2, 8]))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such TorchScript file")
    try:
        network = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: broken or no TorchScript file; save it with torch.jit.save") from error
    arguments = {argument.name for argument in network.forward.schema.arguments}
    if {"rescale", "resize", "return_features"} <= arguments:
        return UserNetwork(network, path.stem, 5, _PROBE_SIZE, 10, _call_video_detector)
    if "return_features" in arguments:
        return UserNetwork(network, path.stem, call=_call_byte_detector)
    return UserNetwork(network, path.stem)


def load_torchvision(name: str) -> UserNetwork:
    """Load a classifier of torchvision with its default weights, which torchvision downloads.

    Its outputs are ``pooled``, the input of its last linear layer, and ``logits``, its output. It takes
    videos if it has three-dimensional convolutions, else images. They are normalised as torchvision
    prescribes, but not cropped.

    Args:
        name: name of the classifier, for example ``"resnet18"`` or ``"r3d_18"``.

    Returns:
        A feature network of that name.

    Raises:
        ImportError: if torchvision is not installed.
        ValueError: if torchvision has no such classifier, or it has no linear layer.

    Example:
        >>> network = load_torchvision("resnet18")  # doctest: +SKIP
        >>> network.num_features  # doctest: +SKIP
        {'pooled': 512, 'logits': 1000}
    """
    models = _optional("torchvision.models", "torchvision")
    try:
        weights = models.get_model_weights(name).DEFAULT
    except ValueError as error:
        raise ValueError(f"torchvision:{name}: {error}") from error
    preset = weights.transforms()
    # Those of networks that detect, segment or compare crop or normalise nothing.
    classifies = all(hasattr(preset, each) for each in ("crop_size", "mean", "std"))
    network = models.get_model(name, weights=weights) if classifies else None
    if network is None or not _linear_layers(network):
        raise ValueError(
            f"torchvision:{name}: expected a classifier of images or videos with a linear layer at its end, "
            "such as resnet18, found another network"
        )
    side = preset.crop_size
    size = (side[0], side[0]) if len(side) == 1 else (side[0], side[1])
    video = any(isinstance(layer, nn.Conv3d) for layer in network.modules())
    call = partial(_call_classifier, mean=tuple(preset.mean), std=tuple(preset.std))
    return UserNetwork(network, name, 5 if video else 4, size, call=call)


def load_torch_fidelity() -> UserNetwork:
    """Load the Inception network with which most published Frechet distances of images are computed.

    It comes with torch-fidelity, which downloads its weights. Its outputs are ``pooled`` (2048) and
    ``logits`` (1008, without bias).

    Returns:
        A feature network named ``inception``.

    Raises:
        ImportError: if torch-fidelity is not installed.

    References:
        Heusel et al., NeurIPS 2017, arXiv:1706.08500 (the distance that uses it).

    Example:
        >>> network = load_torch_fidelity()  # doctest: +SKIP
        >>> network.num_features  # doctest: +SKIP
        {'pooled': 2048, 'logits': 1008}
    """
    extractors = _optional("torch_fidelity.feature_extractor_inceptionv3", "torch-fidelity")
    network = extractors.FeatureExtractorInceptionV3(
        "inception-v3-compat", features_list=["2048", "logits_unbiased"]
    )
    return UserNetwork(network, "inception", call=_call_fidelity)


def _plainly(network: nn.Module, x: Tensor) -> Outputs:
    return network(x)


def _call_video_detector(network: nn.Module, x: Tensor) -> Tensor:
    return network(2 * _coloured(x) - 1, rescale=False, resize=False, return_features=True)


def _call_byte_detector(network: nn.Module, x: Tensor) -> Tensor:
    return network(_bytes(x), return_features=True)


def _call_fidelity(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    pooled, logits = network(_bytes(x))
    return {"pooled": pooled, "logits": logits}


def _call_classifier(
    network: nn.Module, x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, Tensor]:
    last = _linear_layers(network)[-1]
    taken: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    shape = (1, 3) + (1,) * (x.ndim - 2)
    try:
        logits = network((_coloured(x) - x.new_tensor(mean).view(shape)) / x.new_tensor(std).view(shape))
    finally:
        hook.remove()
    return {"pooled": taken[0], "logits": logits}


def _linear_layers(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def _coloured(x: Tensor) -> Tensor:
    return x.expand(-1, 3, *x.shape[2:])


def _bytes(x: Tensor) -> Tensor:
    return (255 * _coloured(x)).round().to(torch.uint8)


def _optional(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{package} is not installed or cannot be imported: pip install {package}"
        ) from error
