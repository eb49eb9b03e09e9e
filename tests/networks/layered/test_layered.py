"""The layered generator: what decides what, and where it is drawn."""

import pytest
import torch

from fund2oct.networks.layered.generator import LayeredGenerator, layer_bands
from fund2oct.networks.layered.texture import TextureNetwork
from fund2oct.networks.lines import LineEncoder
from fund2oct.networks.noise import NoiseSource, NoNoise
from fund2oct.retina import ALIGNED_DEPTH

S, Z, X = 3, 40, 24
DZ_MM = 0.048


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


def test_noise_decides_the_texture_alone(network, given):
    first, second = (network(*given, DZ_MM, rng=NoiseSource.of_keys(["a", "b"], seed)) for seed in (0, 1))
    assert (first - second).abs().mean() > 1e-3
    quiet = [network(*given, DZ_MM, rng=NoNoise()) for _ in range(2)]
    assert torch.equal(*quiet)
    anatomy = network.anatomy(*given, DZ_MM)
    assert torch.equal(anatomy.logits, network.anatomy(*given, DZ_MM).logits)


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
    image = network.anatomy(*given, DZ_MM, known_um=known).image
    top = (1 - image[:, 0]).sum(2)  # rows above the first surface
    expected = torch.full((2, S, X), ALIGNED_DEPTH * Z - 0.400 / DZ_MM)
    expected[0, 1, 5] = ALIGNED_DEPTH * Z - 0.640 / DZ_MM
    torch.testing.assert_close(top, expected, atol=0.6, rtol=0)


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
    # The stem's filters reach two pixels.
    assert difference[0, :1].max() == 0 and difference[0, 6:].max() == 0 and difference[1].max() == 0


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
