"""What every distance of sets does: which eyes it takes, what it refuses, and in several processes."""

import itertools
import math
import os
from pathlib import Path

import pytest
import torch
from tiny_sets import METRICS, ROLES, S, Tiny, X, Z, filled, made_keys, made_volumes, tiny_image, tiny_video
from torch import Tensor, nn

from fund2oct.metrics.sets.image_video import ImageDistance, VideoDistance


def test_all_that_are_compared_with_real_eyes_share_their_features() -> None:
    real, one, other = filled(tiny_image(), rescan=True), tiny_image(), tiny_image()
    one.update(made_volumes(seed=1), "fake", made_keys())
    other.update(made_volumes(seed=3), "fake", made_keys())
    shared, again = (metric.comparison(beside=real) for metric in (one, other))
    assert shared.real.untyped_storage().data_ptr() == again.real.untyped_storage().data_ptr()
    assert shared.compute() == real.comparison().compute()
    assert again.compute().value != shared.compute().value
    real.update(made_volumes(10)[9:], "real", made_keys(10)[9:])  # what was gathered is forgotten
    with pytest.raises(ValueError, match="fake eyes: 1 of 10 are missing"):
        one.comparison(beside=real)


def test_sets_of_different_eyes() -> None:
    metric = tiny_image(paired=False)
    metric.update(made_volumes(5), "real", made_keys(5))
    metric.update(made_volumes(8, 1), "fake", [f"other {key}" for key in made_keys(8)])
    found = metric.compute()
    assert (found.n_real, found.n_fake, found.floor_n) == (5, 8, 2)


def test_two_eyes_are_enough_for_the_value() -> None:
    found = filled(tiny_image(), 2).compute()
    assert found.value > 0
    assert found.floor is None


def _with(value: float, at: tuple[int, ...] = (1, 0, 2, 3, 4)) -> Tensor:
    volumes = made_volumes(3)
    volumes[at] = value
    return volumes


def _constant_slice() -> Tensor:
    volumes = made_volumes(3)
    volumes[1, 0, 4] = 0.3
    return volumes


UPDATES = {
    "NaN": (_with(math.nan), "fake", made_keys(3), "fake eye '000001-R': expected intensities.*found nan"),
    "infinite": (_with(math.inf), "real", made_keys(3), "real eye '000001-R': .* to inf"),
    "above 1": (
        _with(1.5),
        "real",
        made_keys(3),
        r"real eye '000001-R': expected .* \[0, 1\], found .* to 1.5",
    ),
    "below 0": (_with(-0.1), "rescan", made_keys(3), "rescan eye '000001-R': .* found -0.1"),
    "real slice": (_constant_slice(), "real", made_keys(3), "real eye '000001-R': slice 4 is of one grey"),
    "rescan slice": (_constant_slice(), "rescan", made_keys(3), "rescan eye '000001-R': slice 4 is of one"),
    "bytes": (torch.ones(3, 1, S, Z, X, dtype=torch.uint8), "real", made_keys(3), "floating point.*uint8"),
    "channels": (torch.rand(3, 3, S, Z, X), "real", made_keys(3), r"expected \(B, 1, S, Z, X\)"),
    "no batch": (torch.rand(1, S, Z, X), "real", made_keys(1), r"expected \(B, 1, S, Z, X\)"),
    "keys": (made_volumes(3), "real", made_keys(2), "one key for each of 3 eyes"),
    "one key": (made_volumes(3), "real", "abc", "one key for each of 3 eyes, found 'abc'"),
    "role": (made_volumes(3), "generated", made_keys(3), "role: expected one of real, fake, rescan"),
}


@METRICS
@pytest.mark.parametrize(("volume", "role", "keys", "message"), UPDATES.values(), ids=UPDATES.keys())
def test_bad_updates(build, volume: Tensor, role: str, keys: list[str], message: str) -> None:
    metric = build()
    with pytest.raises(ValueError, match=message):
        metric.update(volume, role, keys)
    # Nothing of a refused batch stays.
    assert filled(metric, 3).compute() == filled(build(), 3).compute()


@METRICS
@pytest.mark.parametrize("role", ["real", "fake"])
def test_volumes_of_different_sizes(build, role: str) -> None:
    metric = build()
    metric.update(made_volumes(2), "real", made_keys(2))
    with pytest.raises(ValueError, match=rf"{role} eye 'x': expected .*\(6, 10, 14\).*found \(6, 10, 15\)"):
        metric.update(torch.rand(1, 1, S, Z, X + 1), role, ["x"])


def test_too_few_frames_and_slices() -> None:
    metric = VideoDistance(Tiny(5, min_frames=9), slices="native")
    with pytest.raises(ValueError, match="'000000-L': slices='native' makes 6 frames of 6 slices, and tiny "
                                         "needs 9; use slices='closure'"):  # fmt: skip
        filled(metric)
    with pytest.raises(ValueError, match="real eye 'x': expected at least two slices, found 1"):
        tiny_video().update(torch.rand(1, 1, 1, Z, X), "real", ["x"])


SETS = {
    "one eye": (1, 1, 0, "at least two real eyes, found 1"),
    "no fake": (3, 0, 0, "at least two fake eyes, found 0"),
    "missing fake": (9, 3, 0, "fake eyes: 6 of 9 are missing: 000003-R, .*, 000007-R and 1 more; answer"),
    "missing real": (3, 4, 0, "real eyes: 1 of 4 are missing: 000003-R; answer each"),
    "missing rescan": (3, 3, 2, "rescan eyes: 1 of 3 are missing: 000002-L; render"),
}


@pytest.mark.parametrize(("real", "fake", "rescan", "message"), SETS.values(), ids=SETS.keys())
def test_bad_sets(real: int, fake: int, rescan: int, message: str) -> None:
    metric = tiny_image()
    for role, count in (("real", real), ("fake", fake), ("rescan", rescan)):
        if count:
            metric.update(made_volumes(count), role, made_keys(count))
    with pytest.raises(ValueError, match=message):
        metric.compute()


@METRICS
@pytest.mark.parametrize("role", ["real", "fake", "rescan"])
def test_one_eye_given_twice_with_other_content(build, role: str) -> None:
    metric = filled(build(), rescan=True)
    metric.update(made_volumes(1, seed=7), role, ["000004-L"])
    with pytest.raises(ValueError, match=f"{role} eye '000004-L': given twice with different volumes"):
        metric.compute()


def test_long_keys_differ_by_what_a_message_cannot_show() -> None:
    keys = [f"{number}{'é' * 80}" for number in range(4)]
    metric = tiny_image()
    metric.update(made_volumes(4), "real", keys)
    metric.update(made_volumes(3), "fake", keys[:3])
    with pytest.raises(ValueError, match=f"fake eyes: 1 of 4 are missing: {'é' * 32}; "):
        metric.compute()


BUILDS = {
    "images for a video": (lambda: VideoDistance(Tiny(4)), "tiny takes 4-D input, expected 5-D"),
    "videos for an image": (lambda: ImageDistance(Tiny(5)), "tiny takes 5-D input, expected 4-D"),
    "a plain module": (lambda: ImageDistance(nn.Conv2d(1, 1, 1)), "found a Conv2d; wrap it"),
    "output": (lambda: tiny_image(output="logits"), "tiny has first, second, found 'logits'"),
    "kind": (lambda: tiny_image(kind="mmd"), "expected frechet, kernel or a function, found 'mmd'"),
    "resize": (lambda: tiny_image(resize="crop"), "resize: expected one of"),
    "slices": (lambda: tiny_video(slices="mirror"), "slices: expected native, closure"),
    "resamples": (lambda: tiny_image(resamples=-1), "resamples: expected 0 or more"),
}


@pytest.mark.parametrize(("build", "message"), BUILDS.values(), ids=BUILDS.keys())
def test_bad_arguments(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_features_that_are_not_finite() -> None:
    network = Tiny(4)
    network.convolution.bias.data[0] = math.inf
    with pytest.raises(ValueError, match="real eye '000000-L': tiny gives features that are not finite"):
        filled(ImageDistance(network))


# Unequal shares, one padded by an eye of the other's, and a process without any.
SHARES = [[[0, 2, 4, 6, 8, 1], [1, 3, 5, 7]], [list(range(9)), []]]


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    results = []
    for build, shares in itertools.product((tiny_image, tiny_video), SHARES):
        metric = build()
        for seed, role in enumerate(ROLES):
            if mine := shares[rank]:
                metric.update(made_volumes(seed=seed)[mine], role, [made_keys()[number] for number in mine])
        results.append(metric.compute().to_dict())
        # Each process still has its own eyes and can go on.
        for seed, role in enumerate(ROLES):
            metric.update(made_volumes(11, seed)[9 + rank :][:1], role, [f"more {rank}"])
        results.append(metric.compute().to_dict())
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(os.name == "nt", reason="forks processes")
def test_two_processes_give_exactly_what_one_gives(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_worker, (str(tmp_path),), nprocs=2, start_method="fork")
    expected = []
    for build, _ in itertools.product((tiny_image, tiny_video), SHARES):
        metric = filled(build(), rescan=True)
        expected.append(metric.compute().to_dict())
        for seed, role in enumerate(ROLES):
            metric.update(made_volumes(11, seed)[9:], role, ["more 0", "more 1"])
        expected.append(metric.compute().to_dict())
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == expected
