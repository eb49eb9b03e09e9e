"""The layered generator: what decides what, and where it is drawn."""

import pytest
import torch
from torch.nn import functional as F

from fund2oct.networks.layered.generator import LayeredGenerator, Real, layer_bands
from fund2oct.networks.layered.texture import TextureNetwork
from fund2oct.networks.lines import LineEncoder
from fund2oct.networks.noise import NoiseSource, NoNoise
from fund2oct.retina import ALIGNED_DEPTH

S, Z, X = 3, 40, 24
DZ_MM, DX_MM = 0.048, 0.08


@pytest.fixture
def network():
    return LayeredGenerator(Z, "own", surface_width=16, tissue_width=16, texture=(8, 8))


@pytest.fixture
def given():
    return torch.rand(2, 3, 32, 32), torch.rand(2, S, X, 2) * 2 - 1


def test_a_volume_of_the_asked_for_size(network, given):
    volume = network(*given, DZ_MM)
    assert volume.shape == (2, 1, S, Z, X) and volume.dtype == torch.float32
    assert volume.min() >= 0 and volume.max() <= 1
    assert network(*given, DZ_MM / 2, 2 * Z).shape == (2, 1, S, 2 * Z, X)


def test_twice_as_many_rows_show_the_same_anatomy(network, given):
    coarse = network.anatomy(*given, DZ_MM).image
    fine = network.anatomy(*given, DZ_MM / 2, 2 * Z).image
    assert (fine.unflatten(3, (Z, 2)).mean(4) - coarse).abs().mean() < 0.02


def test_some_slices_of_a_scan_are_what_they_are_among_all(network, given):
    fundus, grid = given
    every = network.eval().anatomy(fundus, grid, DZ_MM)
    some = network.anatomy(fundus, grid[:, 1:], DZ_MM, whole=grid)
    torch.testing.assert_close(some.heights_um, every.heights_um[:, :, 1:])
    torch.testing.assert_close(some.image, every.image[:, :, 1:])
    alone = network.anatomy(fundus, grid[:, 1:], DZ_MM).heights_um
    assert (alone - every.heights_um[:, :, 1:]).abs().max() > 1  # um


def test_noise_decides_the_texture_alone(network, given):
    first, second = (network(*given, DZ_MM, rng=NoiseSource.of_keys(["a", "b"], seed)) for seed in (0, 1))
    assert (first - second).abs().mean() > 1e-3
    quiet = [network(*given, DZ_MM, rng=NoNoise()) for _ in range(2)]
    assert torch.equal(*quiet)
    # Without noise nothing is left but the anatomy: the texture has no pattern of its own.
    assert torch.equal(quiet[0], network.anatomy(*given, DZ_MM).image)


def test_the_mean_of_all_textures_is_the_anatomy(network, given):
    class Opposite(NoiseSource):
        def randn(self, *args):
            return -super().randn(*args)

    keys, image = ["a", "b"], network.anatomy(*given, DZ_MM).image
    one = network(*given, DZ_MM, rng=NoiseSource.of_keys(keys))
    other = network(*given, DZ_MM, rng=Opposite(NoiseSource.of_keys(keys).rngs))
    inside = (one > 0) & (one < 1) & (other > 0) & (other < 1)  # elsewhere it was clamped
    assert inside.float().mean() > 0.9 and (one - image).abs().mean() > 1e-3
    torch.testing.assert_close(((one + other) / 2)[inside], image[inside])


def test_an_eye_does_not_depend_on_the_others(network, given):
    fundus, grid = given
    both = network(fundus, grid, DZ_MM, rng=NoiseSource.of_keys(["a", "b"]))
    alone = network(fundus[1:], grid[1:], DZ_MM, rng=NoiseSource.of_keys(["b"]))
    torch.testing.assert_close(alone, both[1:], atol=1e-5, rtol=1e-4)


def test_no_gradient_of_the_texture_reaches_the_anatomy(network, given):
    network(*given, DZ_MM).sum().backward()
    moved = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert moved and all(name.startswith("texture.") for name in moved)


def test_tissue_bends_no_surface(network, given):
    network.anatomy(*given, DZ_MM).image.sum().backward()
    moved = {name.partition(".")[0] for name, weight in network.named_parameters() if weight.grad is not None}
    assert moved == {"encoder", "tissue"}


def test_tissue_lies_between_the_known_surfaces(network, given):
    with torch.no_grad():
        # White below the first surface and black above, whatever the photo.
        network.tissue.columns.weight.zero_()
        network.tissue.columns.bias.fill_(9.0)
        network.tissue.columns.bias[: network.bands[0]] = -9.0
    known = torch.full((2, 4, S, X), float("nan"))
    known[:, 0], known[:, 1], known[:, 2], known[:, 3] = 400.0, 120.0, 100.0, 0.0
    known[0, 0, 1, 5] = 640.0
    real = Real(known, torch.zeros(2, 1, S, Z, X), DX_MM)
    image = network.anatomy(*given, DZ_MM, real=real).image
    top = (1 - image[:, 0]).sum(2)  # rows above the first surface
    expected = torch.full((2, S, X), ALIGNED_DEPTH * Z - 0.400 / DZ_MM)
    expected[0, 1, 5] = ALIGNED_DEPTH * Z - 0.640 / DZ_MM
    torch.testing.assert_close(top, expected, atol=0.6, rtol=0)


def flat_heights(*heights_um):
    return torch.tensor(heights_um).view(1, 4, 1, 1).expand(2, 4, S, X).clone()


def test_fluid_of_the_real_volume_is_drawn_where_it_lies(network, given):
    heights = flat_heights(400.0, 100.0, 80.0, 0.0)
    with torch.no_grad():
        network.tissue.columns.weight.zero_()
        network.tissue.columns.bias.zero_()
        network.tissue.fluid.fill_(-20.0)
    depth_um = ((torch.arange(Z) + 0.5) - ALIGNED_DEPTH * Z) * 1000 * DZ_MM
    real = torch.where(depth_um < -400, 0.1, 0.5).view(1, 1, 1, Z, 1).repeat(2, 1, S, 1, X)
    cyst = (depth_um > -310) & (depth_um < -170)
    real[1, 0, 2, cyst.nonzero().flatten()[:, None], torch.arange(9, 15)] = 0.1
    anatomy = network.anatomy(*given, DZ_MM, real=Real(heights, real, DX_MM))
    dark = anatomy.image < 0.25
    inside = torch.zeros_like(dark)
    inside[1, 0, 2, cyst.nonzero().flatten()[:, None], torch.arange(9, 15)] = True
    assert (dark & inside).sum() > 0.5 * inside.sum()
    # A row into which the pocket reaches is dark too.
    touched = F.max_pool3d(inside.float()[:, 0], (1, 3, 1), 1, (0, 1, 0))[:, None] > 0
    assert not (dark & ~touched).any()


def test_fluid_is_drawn_where_it_is_likelier_than_not(network, given):
    with torch.no_grad():
        network.tissue.pockets.weight.zero_()
        network.tissue.fluid.fill_(-20.0)
        network.tissue.pockets.bias.fill_(-2.0)
        dry = network.anatomy(*given, DZ_MM).image
        middle = network.bands[1] // 2
        network.tissue.pockets.bias[middle - 2 : middle + 2] = 2.0
        wet = network.anatomy(*given, DZ_MM).image
    darker = (dry - wet)[0, 0, 1, :, 5]
    assert darker.max() > 0.2
    top = ALIGNED_DEPTH * Z - network.anatomy(*given, DZ_MM).heights_um[0, :2, 1, 5] / (1000 * DZ_MM)
    rows = torch.arange(Z) + 0.5
    share = (rows[darker > 0.1] - top[0]) / (top[1] - top[0])
    assert ((share > 0.25) & (share < 0.75)).all()


def test_drawn_surfaces_differ_from_the_median_ones(network, given):
    median = network.anatomy(*given, DZ_MM).heights_um
    drawn = network.anatomy(*given, DZ_MM, draw=NoiseSource.of_keys(["a", "b"])).heights_um
    assert not torch.equal(median, drawn)


def test_bands_follow_the_depth():
    assert layer_bands(80) == (8, 28, 6, 6, 36)
    assert layer_bands(320) == (32, 112, 24, 24, 144)
    assert min(layer_bands(16)) >= 1


def test_a_grid_of_other_eyes_and_an_unknown_spacing_are_refused(network, given):
    fundus, grid = given
    with pytest.raises(ValueError, match=r"grid: expected \(2, S, X, 2\)"):
        network(fundus, grid[:1], DZ_MM)
    with pytest.raises(ValueError, match="spacing: expected a positive distance"):
        network(fundus, grid, float("nan"))


def test_lines_read_the_place_that_they_lie_over():
    encoder = LineEncoder((4,), width=8, n_layers=0)
    dark, grid = torch.zeros(1, 3, 16, 16), torch.zeros(1, 2, 16, 2)
    grid[0, 0, :, 0] = (torch.arange(16) + 0.5) / 8 - 1
    grid[0, 0, :, 1] = 0.5625  # the centre of row 12
    spot, maps = dark.clone(), [torch.zeros(1, 4, 8, 8)]
    spot[0, :, 12, 3] = 1
    encoder.norm = torch.nn.Identity()
    difference = (encoder(spot, maps, grid) - encoder(dark, maps, grid)).abs().sum(1)[0]
    assert difference[0, 3] > 0
    # A patch reaches three pixels.
    assert difference[0, 7:].max() == 0 and difference[1].max() == 0


def test_the_three_kinds_of_noise():
    class Ones(NoNoise):
        """1 for the asked-for kind of noise, by its number of channels; 0 for the others."""

        def __init__(self, channels):
            super().__init__()
            self.channels = channels

        def randn(self, shape, device="cpu", dtype=torch.float32):
            return torch.randn(*shape) * float(shape[1] == self.channels)

    network = TextureNetwork((8, 8), n_surfaces=2)
    anatomy, distances = torch.zeros(3, 1, Z, X), torch.zeros(3, 2, Z, X)
    quiet = network(anatomy, distances, NoNoise())

    def change(kind):
        inner = slice(9, -9)  # away from the zero padding
        return (network(anatomy, distances, Ones(kind)) - quiet)[:, 0, inner, inner]

    points, columns, whole = change(4), change(2), change(1)
    assert points.std((1, 2)).min() > 0 and points.std(1).min() > 0
    assert columns.std(1).max() < 1e-5 and columns.std(2).min() > 0
    assert whole.std((1, 2)).max() < 1e-5 and whole.abs().max() > 0
