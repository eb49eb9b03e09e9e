import copy
import itertools
import math
import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fund2oct.metrics.sets.eye_distance import EyeDistance
from fund2oct.metrics.sets.frechet import frechet_distance
from fund2oct.metrics.sets.image_video import ImageDistance, VideoDistance
from fund2oct.metrics.sets.kernel import kernel_distance
from fund2oct.metrics.sets.resize import resize_images
from fund2oct.metrics.sets.slices import slice_protocol
from fund2oct.networks.features import FeatureNetwork

S, Z, X = 6, 10, 14
ROLES = ("real", "fake", "second")


class _Tiny(FeatureNetwork):
    """A convolution and a mean over what is left, over frames as well where there are any."""

    name = "tiny"
    num_features = {"first": 5, "second": 3}  # noqa: RUF012

    def __init__(self, ndim: int, size: tuple[int, int] | None = (8, 8), min_frames: int = 1) -> None:
        super().__init__()
        self.ndim, self.size, self.min_frames = ndim, size, min_frames
        generator = torch.Generator().manual_seed(0)
        convolution = nn.Conv2d(1, 8, 3) if ndim == 4 else nn.Conv3d(1, 8, 3)
        for weight in convolution.parameters():
            weight.data = torch.randn(weight.shape, generator=generator)
        self.convolution = convolution
        self._freeze()

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        found = self.convolution(x).relu().flatten(2).mean(2)
        return {"first": found[:, :5], "second": found[:, 5:]}


def _image(**options) -> ImageDistance:
    return ImageDistance(_Tiny(4), **{"resamples": 10} | options)


def _video(**options) -> VideoDistance:
    return VideoDistance(_Tiny(5), **{"resamples": 10} | options)


METRICS = pytest.mark.parametrize("build", [_image, _video])


def _volumes(count: int = 9, seed: int = 0) -> Tensor:
    """Slices that drift from one to the next, so that their order shows."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(count, 1, 2, Z, X, generator=generator)
    return torch.lerp(ends[:, :, :1], ends[:, :, 1:], torch.linspace(0, 1, S).view(S, 1, 1))


def _keys(count: int = 9) -> list[str]:
    return [f"{number:06d}-{'LR'[number % 2]}" for number in range(count)]


def _filled(metric: EyeDistance, count: int = 9, second: bool = False) -> EyeDistance:
    metric.update(_volumes(count), "real", _keys(count))
    metric.update(_volumes(count, 1), "fake", _keys(count))
    if second:
        metric.update(_volumes(count, 2), "second", _keys(count))
    return metric


@pytest.mark.parametrize(("kind", "function"), [("frechet", frechet_distance), ("kernel", kernel_distance)])
def test_image_distance_is_that_of_all_bscans(kind, function) -> None:
    found = _filled(_image(kind=kind, output="second"), second=True).compute()

    def described(volume: Tensor) -> Tensor:
        bscans = resize_images(volume.transpose(1, 2).flatten(0, 1), (8, 8), "antialias")
        return _Tiny(4).features(bscans)["second"]

    real, fake, second = (described(_volumes(seed=seed)) for seed in range(3))
    assert found.value == pytest.approx(function(real, fake).item(), rel=1e-5)
    assert found.second_floor == pytest.approx(function(real, second).item(), rel=1e-5)
    assert (found.n_real, found.n_fake, found.floor_n) == (9, 9, 4)
    assert found.shuffle_control is None


@pytest.mark.parametrize("resize", ["legacy", "bilinear"])
@pytest.mark.parametrize("slices", ["native", "closure", "linear16"])
def test_video_distance_is_that_of_the_frames(slices, resize) -> None:
    found = _filled(_video(slices=slices, resize=resize)).compute()

    def described(volume: Tensor) -> Tensor:
        frames = slice_protocol(volume, slices)
        small = resize_images(frames.transpose(1, 2).flatten(0, 1), (8, 8), resize)
        return _Tiny(5).features(small.view(9, -1, 1, 8, 8).transpose(1, 2))["first"]

    real, fake = described(_volumes()), described(_volumes(seed=1))
    assert found.value == pytest.approx(frechet_distance(real, fake).item(), rel=1e-5)


class _Steps(_Tiny):
    """How much each frame differs from the next, by rows."""

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {"first": x.diff(dim=2).abs().mean((1, 2, 4))[:, :5]}


class _Blind(_Tiny):
    """The mean of the frames, by rows."""

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {"first": x.mean((1, 2, 4))[:, :5]}


def test_shuffle_control_notices_the_order_where_the_network_does() -> None:
    notices, blind = (
        _filled(VideoDistance(network(5), slices="native", resamples=10), 20).compute()
        for network in (_Steps, _Blind)
    )
    assert notices.shuffle_control > 3 * notices.floor
    assert blind.shuffle_control == pytest.approx(blind.floor, rel=1e-3)


@pytest.mark.parametrize("n_slices", [2, 3, 7])
def test_shuffled_slices_are_neither_in_order_nor_reversed(n_slices: int) -> None:
    from fund2oct.metrics.sets.image_video import _shuffled_order

    own = list(range(n_slices))
    orders = [_shuffled_order(n_slices, seed) for seed in range(-20, 20)]
    assert all(sorted(order) == own and order != own for order in orders)
    assert n_slices == 2 or own[::-1] not in orders
    assert orders == [_shuffled_order(n_slices, seed) for seed in range(-20, 20)]


NAMES = {
    "image_distance/tiny-first/antialias8": lambda: _image(),
    "image_distance/tiny-second/bilinear8/kernel": lambda: _image(
        output="second", resize="bilinear", kind="kernel"
    ),
    "image_distance/tiny-first/antialias8x9": lambda: ImageDistance(_Tiny(4, (8, 9))),
    f"image_distance/tiny-first/{Z}x{X}": lambda: ImageDistance(_Tiny(4, None)),
    "video_distance/tiny-first/legacy8/closure12": lambda: _video(),
    "video_distance/tiny-first/legacy8/native6": lambda: _video(slices="native"),
    "video_distance/tiny-first/legacy8/linear16/kernel": lambda: _video(slices="linear16", kind="kernel"),
}


@pytest.mark.parametrize(("name", "build"), NAMES.items(), ids=NAMES.keys())
def test_names_say_the_protocol(name: str, build) -> None:
    metric = build()
    metric.resamples = 0
    _filled(metric, 2)
    assert metric.name == metric.compute().name == name


def test_name_before_the_first_eye_leaves_out_what_it_cannot_know() -> None:
    assert _video().name == "video_distance/tiny-first/legacy8/closure"
    assert VideoDistance(_Tiny(5, None), slices="repeat12").name == "video_distance/tiny-first/repeat12"


@METRICS
def test_batches_order_and_repeated_eyes_do_not_matter(build) -> None:
    expected = _filled(build(), second=True).compute()
    orders = random.Random(0)
    for batch in (1, 2, 4):
        metric = build()
        for seed, role in ((1, "fake"), (0, "real"), (2, "second")):
            order = orders.sample(range(9), 9)
            order.append(order[0])  # as a distributed sampler pads
            volumes, keys = _volumes(seed=seed), _keys()
            for start in range(0, 10, batch):
                drawn = order[start : start + batch]
                metric.update(volumes[drawn], role, [keys[number] for number in drawn])
        assert metric.compute() == expected


@METRICS
def test_memory_is_that_of_the_features(build) -> None:
    metric = _filled(build())
    held = sum(tensor.nbytes for state in metric._defaults for tensor in getattr(metric, state))
    rows = {"ImageDistance": (S, S), "VideoDistance": (2, 1)}[type(metric).__name__]
    # Besides the features 40 bytes of numbers and 64 of name an eye.
    assert held == 9 * (4 * 5 * sum(rows) + 2 * (40 + 64))


@METRICS
def test_reset_and_reuse(build) -> None:
    metric = _filled(build())
    expected = metric.compute()
    metric.reset()
    assert metric.name == build().name
    assert _filled(metric).compute() == expected


@METRICS
def test_copies_and_pickles(build) -> None:
    metric = _filled(build())
    for other in (copy.deepcopy(metric), metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert other.compute() == metric.compute()


@METRICS
def test_the_network_is_in_no_checkpoint_and_keeps_its_precision(build) -> None:
    metric = build()
    holder = nn.ModuleDict({"metric": metric})
    assert holder.state_dict() == {}
    assert list(holder.parameters()) == []
    holder.train()
    assert not metric.network.training
    expected = _filled(build()).compute()
    holder.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert _filled(metric).compute() == expected
    assert metric.to("meta").network.convolution.weight.device.type == "meta"


def test_half_precision_volumes_are_described_in_single() -> None:
    metric = _image()
    for seed, role in enumerate(("real", "fake")):
        metric.update(_volumes(seed=seed).bfloat16(), role, _keys())
    assert metric.compute().value == pytest.approx(_filled(_image()).compute().value, rel=0.02)
    assert metric.real_features[0].dtype == torch.float32


@METRICS
def test_constant_generated_slices_are_counted(build) -> None:
    metric = build()
    fake = _volumes(seed=1)
    fake[2, 0, 1:3] = 0.5
    fake[4] = 0
    metric.update(_volumes(), "real", _keys())
    metric.update(fake, "fake", _keys())
    metric.update(fake[4:5], "fake", _keys()[4:5])
    with pytest.warns(UserWarning, match="8 generated B-scans are of one grey value"):
        found = metric.compute()
    assert found.constant_fake_slices == 8
    assert math.isfinite(found.value)


def test_sets_of_different_eyes() -> None:
    metric = _image(paired=False)
    metric.update(_volumes(5), "real", _keys(5))
    metric.update(_volumes(8, 1), "fake", [f"other {key}" for key in _keys(8)])
    found = metric.compute()
    assert (found.n_real, found.n_fake, found.floor_n) == (5, 8, 2)


def test_two_eyes_are_enough_for_the_value() -> None:
    found = _filled(_image(), 2).compute()
    assert found.value > 0
    assert found.floor is None


def _with(value: float, at: tuple[int, ...] = (1, 0, 2, 3, 4)) -> Tensor:
    volumes = _volumes(3)
    volumes[at] = value
    return volumes


def _constant_slice() -> Tensor:
    volumes = _volumes(3)
    volumes[1, 0, 4] = 0.3
    return volumes


UPDATES = {
    "NaN": (_with(math.nan), "fake", _keys(3), "fake eye '000001-R': expected intensities.*found nan"),
    "infinite": (_with(math.inf), "real", _keys(3), "real eye '000001-R': .* to inf"),
    "above 1": (_with(1.5), "real", _keys(3), r"real eye '000001-R': expected .* \[0, 1\], found .* to 1.5"),
    "below 0": (_with(-0.1), "second", _keys(3), "second eye '000001-R': .* found -0.1"),
    "real slice": (_constant_slice(), "real", _keys(3), "real eye '000001-R': slice 4 is of one grey"),
    "second slice": (_constant_slice(), "second", _keys(3), "second eye '000001-R': slice 4 is of one"),
    "bytes": (torch.ones(3, 1, S, Z, X, dtype=torch.uint8), "real", _keys(3), "floating point.*uint8"),
    "channels": (torch.rand(3, 3, S, Z, X), "real", _keys(3), r"expected \(B, 1, S, Z, X\)"),
    "no batch": (torch.rand(1, S, Z, X), "real", _keys(1), r"expected \(B, 1, S, Z, X\)"),
    "keys": (_volumes(3), "real", _keys(2), "one key for each of 3 eyes"),
    "one key": (_volumes(3), "real", "abc", "one key for each of 3 eyes, found 'abc'"),
    "role": (_volumes(3), "generated", _keys(3), "role: expected one of real, fake, second"),
}


@METRICS
@pytest.mark.parametrize(("volume", "role", "keys", "message"), UPDATES.values(), ids=UPDATES.keys())
def test_bad_updates(build, volume: Tensor, role: str, keys: list[str], message: str) -> None:
    metric = build()
    with pytest.raises(ValueError, match=message):
        metric.update(volume, role, keys)
    # Nothing of a refused batch stays.
    assert _filled(metric, 3).compute() == _filled(build(), 3).compute()


@METRICS
@pytest.mark.parametrize("role", ["real", "fake"])
def test_volumes_of_different_sizes(build, role: str) -> None:
    metric = build()
    metric.update(_volumes(2), "real", _keys(2))
    with pytest.raises(ValueError, match=rf"{role} eye 'x': expected .*\(6, 10, 14\).*found \(6, 10, 15\)"):
        metric.update(torch.rand(1, 1, S, Z, X + 1), role, ["x"])


def test_too_few_frames_and_slices() -> None:
    metric = VideoDistance(_Tiny(5, min_frames=9), slices="native")
    with pytest.raises(ValueError, match="'000000-L': slices='native' makes 6 frames of 6 slices, and tiny "
                                         "needs 9; use slices='closure'"):  # fmt: skip
        _filled(metric)
    with pytest.raises(ValueError, match="real eye 'x': expected at least two slices, found 1"):
        _video().update(torch.rand(1, 1, 1, Z, X), "real", ["x"])


SETS = {
    "one eye": (1, 1, 0, "at least two real eyes, found 1"),
    "no fake": (3, 0, 0, "at least two fake eyes, found 0"),
    "missing fake": (9, 3, 0, "fake eyes: 6 of 9 are missing: 000003-R, 000004-L, .*, 000007-R, ...; answer"),
    "missing real": (3, 4, 0, "real eyes: 1 of 4 are missing: 000003-R; answer each"),
    "missing second": (3, 3, 2, "second eyes: 1 of 3 are missing: 000002-L; render"),
}


@pytest.mark.parametrize(("real", "fake", "second", "message"), SETS.values(), ids=SETS.keys())
def test_bad_sets(real: int, fake: int, second: int, message: str) -> None:
    metric = _image()
    for role, count in (("real", real), ("fake", fake), ("second", second)):
        if count:
            metric.update(_volumes(count), role, _keys(count))
    with pytest.raises(ValueError, match=message):
        metric.compute()


@METRICS
@pytest.mark.parametrize("role", ["real", "fake", "second"])
def test_one_eye_given_twice_with_other_content(build, role: str) -> None:
    metric = _filled(build(), second=True)
    metric.update(_volumes(1, seed=7), role, ["000004-L"])
    with pytest.raises(ValueError, match=f"{role} eye '000004-L': given twice with different volumes"):
        metric.compute()


def test_long_keys_differ_by_what_a_message_cannot_show() -> None:
    keys = [f"{number}{'é' * 80}" for number in range(4)]
    metric = _image()
    metric.update(_volumes(4), "real", keys)
    metric.update(_volumes(3), "fake", keys[:3])
    with pytest.raises(ValueError, match=f"fake eyes: 1 of 4 are missing: {'é' * 32}; "):
        metric.compute()


BUILDS = {
    "images for a video": (lambda: VideoDistance(_Tiny(4)), "tiny takes 4-D input, expected 5-D"),
    "videos for an image": (lambda: ImageDistance(_Tiny(5)), "tiny takes 5-D input, expected 4-D"),
    "a plain module": (lambda: ImageDistance(nn.Conv2d(1, 1, 1)), "found a Conv2d; wrap it"),
    "output": (lambda: _image(output="logits"), "tiny has first, second, found 'logits'"),
    "kind": (lambda: _image(kind="mmd"), "one of frechet, kernel, found 'mmd'"),
    "resize": (lambda: _image(resize="crop"), "resize: expected one of"),
    "slices": (lambda: _video(slices="mirror"), "slices: expected native, closure"),
    "resamples": (lambda: _image(resamples=-1), "resamples: expected 0 or more"),
}


@pytest.mark.parametrize(("build", "message"), BUILDS.values(), ids=BUILDS.keys())
def test_bad_arguments(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_features_that_are_not_finite() -> None:
    network = _Tiny(4)
    network.convolution.bias.data[0] = math.inf
    with pytest.raises(ValueError, match="real eye '000000-L': tiny gives features that are not finite"):
        _filled(ImageDistance(network))


# Unequal shares, one padded by an eye of the other's, and a process without any.
SHARES = [[[0, 2, 4, 6, 8, 1], [1, 3, 5, 7]], [list(range(9)), []]]


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    results = []
    for build, shares in itertools.product((_image, _video), SHARES):
        metric = build()
        for seed, role in enumerate(ROLES):
            if mine := shares[rank]:
                metric.update(_volumes(seed=seed)[mine], role, [_keys()[number] for number in mine])
        results.append(metric.compute().to_dict())
        # Each process still has its own eyes and can go on.
        for seed, role in enumerate(ROLES):
            metric.update(_volumes(11, seed)[9 + rank :][:1], role, [f"more {rank}"])
        results.append(metric.compute().to_dict())
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(os.name == "nt", reason="starts processes as Linux does")
def test_two_processes_give_exactly_what_one_gives(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_worker, (str(tmp_path),), nprocs=2, start_method="spawn")
    expected = []
    for build, _ in itertools.product((_image, _video), SHARES):
        metric = _filled(build(), second=True)
        expected.append(metric.compute().to_dict())
        for seed, role in enumerate(ROLES):
            metric.update(_volumes(11, seed)[9:], role, ["more 0", "more 1"])
        expected.append(metric.compute().to_dict())
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == expected
