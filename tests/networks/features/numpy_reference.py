"""The published networks once more, in NumPy and double precision, from the weights' own names.

Nothing here comes from the library: a convolution is a sum over the kernel's taps of matrix products,
channels last, and padding is written as an array of the padded size.
"""

import itertools

import numpy as np


def windows(x, kernel, stride, fill):
    """For each tap of the kernel, the voxels ``(N, T', H', W', C)`` that it meets under SAME padding."""
    sizes = x.shape[1:4]
    out = [-(-size // step) for size, step in zip(sizes, stride, strict=True)]
    reach = [(o - 1) * s + k for o, s, k in zip(out, stride, kernel, strict=True)]
    first = [max(r - size, 0) // 2 for r, size in zip(reach, sizes, strict=True)]
    padded = np.full((len(x), *map(max, zip(reach, sizes, strict=True)), x.shape[4]), fill, x.dtype)
    padded[:, *(slice(f, f + size) for f, size in zip(first, sizes, strict=True))] = x
    for tap in itertools.product(*map(range, kernel)):
        ends = [t + (o - 1) * s + 1 for t, o, s in zip(tap, out, stride, strict=True)]
        spans = (slice(t, end, s) for t, end, s in zip(tap, ends, stride, strict=True))
        yield tap, padded[:, *spans]


def convolve(x, kernel, stride=(1, 1, 1)):
    kernel = kernel.astype(x.dtype)
    return sum(seen @ kernel[tap] for tap, seen in windows(x, kernel.shape[:3], stride, 0))


def max_pool(x, kernel, stride):
    return np.stack([seen for _, seen in windows(x, kernel, stride, -np.inf)]).max(0)


def i3d(tensors, video):
    """Logits and pooled features of a video ``(N, T, 224, 224, 3)`` in [-1, 1]."""

    def unit(x, name, stride=1):
        x = convolve(x, tensors[f"params/{name}/Conv_0/kernel"], (stride,) * 3)
        norm = f"{name}/BatchNorm_0"
        mean, var = (tensors[f"batch_stats/{norm}/{moment}"] for moment in ("mean", "var"))
        return np.maximum((x - mean) / np.sqrt(var + 1e-3) + tensors[f"params/{norm}/bias"], 0)

    def mixed(x, name):
        branches = [unit(x, f"{name}/Branch_0/Conv3d_0a_1x1")]
        for number in (1, 2):
            inner = unit(x, f"{name}/Branch_{number}/Conv3d_0a_1x1")
            branches.append(unit(inner, f"{name}/Branch_{number}/Conv3d_0b_3x3"))
        branches.append(unit(max_pool(x, (3, 3, 3), (1, 1, 1)), f"{name}/Branch_3/Conv3d_0b_1x1"))
        return np.concatenate(branches, -1)

    x = unit(video, "Conv3d_1a_7x7", 2)
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    x = mixed(mixed(x, "Mixed_3b"), "Mixed_3c")
    x = max_pool(x, (3, 3, 3), (2, 2, 2))
    for letter in "bcdef":
        x = mixed(x, f"Mixed_4{letter}")
    x = max_pool(x, (2, 2, 2), (2, 2, 2))
    x = mixed(mixed(x, "Mixed_5b"), "Mixed_5c")
    pooled = np.stack([x[:, t : t + 2].mean((1, 2, 3)) for t in range(x.shape[1] - 1)], 1)
    head = "params/Logits/Conv3d_0c_1x1/Conv_0"
    logits = pooled @ tensors[f"{head}/kernel"][0, 0, 0] + tensors[f"{head}/bias"]
    return logits.mean(1), pooled.mean(1)


def efficientnet_lite0(tensors, image):
    """Logits and pooled features of an image ``(N, H, W, 3)``, normalised."""

    def unit(x, conv, norm, stride=1):
        weight = tensors[f"{conv}.weight"].transpose(2, 3, 1, 0)[None]
        if weight.shape[3] == 1:  # a kernel for each channel
            taps = windows(x, weight.shape[:3], (1, stride, stride), 0)
            x = sum(seen * weight[tap][0] for tap, seen in taps)
        else:
            x = convolve(x, weight, (1, stride, stride))
        mean, var = (tensors[f"{norm}.running_{moment}"] for moment in ("mean", "var"))
        return (x - mean) / np.sqrt(var + 1e-3) * tensors[f"{norm}.weight"] + tensors[f"{norm}.bias"]

    def relu6(x):
        return np.clip(x, 0, 6)

    x = relu6(unit(image[:, None], "_conv_stem", "_bn0", 2))
    for number in range(16):
        block, before = f"_blocks.{number}.", x
        if f"{block}_expand_conv.weight" in tensors:
            x = relu6(unit(x, f"{block}_expand_conv", f"{block}_bn0"))
        stride = 2 if number in (1, 3, 5, 11) else 1
        x = relu6(unit(x, f"{block}_depthwise_conv", f"{block}_bn1", stride))
        x = unit(x, f"{block}_project_conv", f"{block}_bn2")
        if x.shape == before.shape:
            x = x + before
    pooled = relu6(unit(x, "_conv_head", "_bn1")).mean((1, 2, 3))
    return pooled @ tensors["_fc.weight"].T + tensors["_fc.bias"], pooled


def oct3d(tensors, cube):
    """Logits and pooled features of a cube ``(N, 128, 64, 64, 1)`` of Z, S, X in [0, 255]."""

    def layer(x, number, stride):
        conv, norm = (2 * f"{kind}_{number}/" for kind in ("conv3d", "batch_normalization"))
        x = convolve(x, tensors[f"{conv}kernel:0"], (stride,) * 3) + tensors[f"{conv}bias:0"]
        mean, var = (tensors[f"{norm}moving_{moment}:0"] for moment in ("mean", "variance"))
        gamma, beta = (tensors[f"{norm}{part}:0"] for part in ("gamma", "beta"))
        return np.maximum(gamma * (x - mean) / np.sqrt(var + 1e-3) + beta, 0)

    for number, stride in enumerate((2, 1, 1, 1), start=1):
        cube = layer(cube, number, stride)
    pooled = cube.mean((1, 2, 3))
    return pooled @ tensors["CWGT/CWGT/kernel:0"] + tensors["CWGT/CWGT/bias:0"], pooled
