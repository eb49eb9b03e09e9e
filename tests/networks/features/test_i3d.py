"""I3D against a port in NumPy, and against the class of a real clip."""

import numpy as np
import numpy_reference
import pytest
import torch

from fund2oct.networks.features.weights import load_weights


@pytest.fixture(scope="module")
def clip(real_data):
    """Frames (T, 224, 224, 3) as bytes, the centre of each, and the classes' names."""
    cv2 = pytest.importorskip("cv2")
    folder = real_data / "clip"
    if not folder.is_dir():
        pytest.skip(f"no clip at {folder}")
    video = cv2.VideoCapture(str(folder / "arm_wrestling.mp4"))
    frames = []
    while len(frames) < 16:
        more, frame = video.read()
        assert more
        top, left = (frame.shape[0] - 224) // 2, (frame.shape[1] - 224) // 2
        frames.append(frame[top : top + 224, left : left + 224, ::-1])
    return np.stack(frames), (folder / "kinetics400_labels.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def videos(i3d):
    """Two videos, and what the network says of the second one, which grows brighter, alone."""
    brighter = torch.rand(1, 1, 1, 1, 224) * torch.linspace(0, 1, 9).view(1, 1, 9, 1, 1)
    shown = torch.cat([torch.rand(1, 1, 9, 224, 224), brighter.expand(1, 1, 9, 224, 224)])
    with torch.no_grad():
        return shown, i3d.features(shown[1:])


@pytest.mark.slow
def test_equals_the_port(i3d, clip):
    # An even number of frames, so that time is padded by one more at the end than before.
    frames = clip[0][:10].astype(np.float64) / 255
    expected = numpy_reference.i3d(load_weights("i3d"), 2 * frames[None] - 1)
    with torch.no_grad():
        found = i3d.features(torch.tensor(frames).permute(3, 0, 1, 2)[None].float())
    for name, value in zip(("logits", "pooled"), expected, strict=True):
        error = np.abs(found[name].numpy() - value).max() / np.abs(value).max()
        print(f"{name}: {error:.1e} of the largest")
        assert error < 1e-5


def test_grey_is_repeated(i3d, videos):
    shown, grey = videos
    with torch.no_grad():
        colour = i3d.features(shown[1:].repeat(1, 3, 1, 1, 1))
    for name in i3d.num_features:
        torch.testing.assert_close(grey[name], colour[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("grey", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_knows_arm_wrestling(i3d, clip, grey):
    frames, labels = clip
    video = torch.tensor(frames).permute(3, 0, 1, 2)[None] / 255
    if grey:
        video = video.mean(1, keepdim=True)
    with torch.no_grad():
        certainty, best = i3d.features(video)["logits"].softmax(1)[0].max(0)
    print(labels[best], certainty.item())
    assert labels[best] == "arm wrestling" and certainty > 0.99


def test_a_video_is_described_alone(i3d, videos):
    shown, alone = videos
    with torch.no_grad():
        together = i3d.features(shown)
    for name, size in i3d.num_features.items():
        assert together[name].shape == (2, size)
        torch.testing.assert_close(together[name][1:], alone[name], rtol=1e-3, atol=1e-4)


def test_frames_in_another_order_are_another_video(i3d, videos):
    shown, one = videos
    with torch.no_grad():
        other = i3d.features(shown[1:, :, [0, 2, 4, 6, 8, 1, 3, 5, 7]])
    assert (one["logits"] - other["logits"]).abs().max() > 0.1


@pytest.mark.slow
def test_gradients_reach_the_video_and_not_the_network(i3d):
    video = torch.full((1, 1, 9, 224, 224), 0.5, requires_grad=True)
    i3d.features(video)["logits"][0, 7].backward()
    assert video.grad is not None and video.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in i3d.parameters())
    i3d.train()
    assert not any(module.training for module in i3d.modules())


@pytest.mark.parametrize(
    "shape, message",
    [
        ((1, 1, 6, 224, 224), "i3d: expected at least 9 frames, found 6"),
        ((1, 1, 9, 224, 225), r"expected frames of 224x224, found \(224, 225\)"),
        ((1, 2, 9, 224, 224), r"expected videos \(N, 1 or 3, T, H, W\), found \(1, 2, 9, 224, 224\)"),
        ((1, 1, 224, 224), r"expected videos .* found \(1, 1, 224, 224\)"),
    ],
)
def test_other_shapes_are_refused(i3d, shape, message):
    with pytest.raises(ValueError, match=message):
        i3d.features(torch.zeros(shape))
