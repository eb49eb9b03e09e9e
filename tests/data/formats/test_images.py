import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps, features

from fund2oct.data import DataError
from fund2oct.data.formats import images
from fund2oct.data.formats.images import read_grey, read_rgb, read_slice, resize
from fund2oct.data.formats.stacks import read_stack


@pytest.fixture
def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)


def test_a_lossless_picture_comes_back(tmp_path, colours):
    for name in ("a.png", "a.bmp", "a.tif"):
        Image.fromarray(colours).save(tmp_path / name)
        np.testing.assert_array_equal(read_rgb(tmp_path / name), colours)


def test_transparent_parts_are_black(tmp_path, colours):
    alpha = np.full((9, 13, 1), 255, np.uint8)
    alpha[:, 5:] = 0
    Image.fromarray(np.concatenate([colours, alpha], -1)).save(tmp_path / "a.png")
    found = read_rgb(tmp_path / "a.png")
    np.testing.assert_array_equal(found[:, :5], colours[:, :5])
    assert not found[:, 5:].any()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "RGBA", "I", "F"])
def test_every_mode_gives_rgb(tmp_path, colours, mode):
    image = Image.fromarray(colours).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "F", "I") else "a.png")
    image.save(path)
    found = read_rgb(path)
    assert found.shape == (9, 13, 3) and found.dtype == np.uint8
    if mode in ("L", "LA", "I", "F"):
        np.testing.assert_array_equal(found[..., 0], np.asarray(Image.fromarray(colours).convert("L")))


@pytest.mark.parametrize(("bits", "name"), [(16, "a.png"), (12, "a.png"), (16, "a.tif"), (12, "a.tif")])
def test_deep_grey_comes_to_eight_bits(tmp_path, bits, name):
    deep = np.linspace(0, 2**bits - 1, 9 * 13).reshape(9, 13).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / name)
    np.testing.assert_array_equal(read_grey(tmp_path / name), np.round(deep / (2**bits - 1) * 255))


def test_deep_colour_comes_to_eight_bits(tmp_path, colours):
    deep = colours.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", np.moveaxis(deep, -1, 0), photometric="rgb", planarconfig="separate")
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    for name in ("a.tif", "b.tif", "a.png"):
        np.testing.assert_array_equal(read_rgb(tmp_path / name), colours)
    # 12 bits in 16, of which a reader of the upper eight bits alone makes black.
    cv2.imwrite(str(tmp_path / "b.png"), (deep // 16)[..., ::-1])
    np.testing.assert_allclose(read_rgb(tmp_path / "b.png").astype(int), colours, atol=1)


def test_floats_and_white_zero(tmp_path, colours):
    grey = colours[..., 0]
    for values in (grey / 255 * 1.0001, grey.astype(np.float32)):
        tifffile.imwrite(tmp_path / "a.tif", values.astype(np.float32))
        np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), grey)
    for light in (grey, grey.astype(np.uint16) * 257):
        tifffile.imwrite(tmp_path / "a.tif", np.iinfo(light.dtype).max - light, photometric="miniswhite")
        np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), grey)
    tifffile.imwrite(tmp_path / "a.tif", (grey / 127.5 - 1).astype(np.float32))
    with pytest.raises(DataError, match=r"a.tif: .* nothing tells black and white; save it with 8 bits"):
        read_grey(tmp_path / "a.tif")


def test_jpeg_2000_and_cmyk(tmp_path, colours):
    if not features.check("jpg_2000"):
        pytest.skip("Pillow was built without JPEG 2000")
    Image.fromarray(colours).save(tmp_path / "a.jp2", irreversible=False)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.jp2"), colours)
    large = Image.fromarray(colours).resize((130, 90), Image.Resampling.BICUBIC)
    large.convert("CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    assert np.abs(read_rgb(tmp_path / "a.jpg").astype(int) - np.asarray(large)).mean() < 2


def test_the_orientation_of_the_camera_is_followed(tmp_path, colours):
    image = Image.fromarray(colours)
    exif = image.getexif()
    exif[0x0112] = 6  # stored lying on its side: show it turned clockwise
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), np.rot90(colours, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_any_depth_is_turned_as_its_tag_says(tmp_path, colours, orientation):
    as_it_lies = Image.fromarray(colours)
    exif = as_it_lies.getexif()
    exif[274] = orientation
    as_it_lies.save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    tag = [(274, "H", 1, orientation, True)]
    for depth in (np.uint8, np.uint16):
        deep = colours.astype(depth) * depth(np.iinfo(depth).max // 255)
        tifffile.imwrite(tmp_path / "rgb.tif", deep, photometric="rgb", extratags=tag)
        np.testing.assert_array_equal(read_rgb(tmp_path / "rgb.tif"), expected)
        tifffile.imwrite(tmp_path / "grey.tif", deep[..., 0], photometric="minisblack", extratags=tag)
        np.testing.assert_array_equal(read_grey(tmp_path / "grey.tif"), expected[..., 0])
    apart = np.moveaxis(deep, -1, 0)
    tifffile.imwrite(tmp_path / "b.tif", apart, photometric="rgb", planarconfig="separate", extratags=tag)
    np.testing.assert_array_equal(read_rgb(tmp_path / "b.tif"), expected)


@pytest.mark.parametrize("n_bits", [12, 16])
def test_deep_transparent_parts_are_black(tmp_path, colours, n_bits):
    colours[0] = 255
    alpha = np.full((9, 13, 1), 255, np.uint8)
    alpha[:, 5:], alpha[:, 8:] = 128, 0
    pale = np.concatenate([colours, alpha], -1)
    Image.fromarray(pale).save(tmp_path / "8.png")
    expected = read_rgb(tmp_path / "8.png").astype(int)
    assert expected[0, 0, 0] == 255 and not expected[:, 8:].any()
    deep = np.round(pale * ((2**n_bits - 1) / 255)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "grey.tif", deep[..., [0, 3]], photometric="minisblack",
                     extrasamples=["unassalpha"])  # fmt: skip
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., [2, 1, 0, 3]])
    for name in ("a.tif", "a.png"):
        np.testing.assert_allclose(read_rgb(tmp_path / name), expected, atol=1)
    np.testing.assert_allclose(read_grey(tmp_path / "grey.tif"), expected[..., 0], atol=1)
    # Colours that were multiplied by alpha before they were stored lie on black already.
    tifffile.imwrite(tmp_path / "b.tif", deep, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_allclose(read_rgb(tmp_path / "b.tif"), colours, atol=1)


def test_a_deep_png_is_turned_too(tmp_path, colours):
    cv2.imwrite(str(tmp_path / "a.png"), (colours.astype(np.uint16) * 257)[..., ::-1])
    exif = Image.Exif()
    exif[274] = 6
    block = b"eXIf" + exif.tobytes()[6:]
    stored = (tmp_path / "a.png").read_bytes()
    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    (tmp_path / "a.png").write_bytes(stored[:33] + chunk + stored[33:])  # behind the header
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), np.rot90(colours, -1))


def test_deep_cmyk_is_said(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((9, 13, 4), np.uint16), photometric="separated")
    with pytest.raises(DataError, match=r"a.tif: is a TIFF of 16 bits a colour in CMYK, .*; save it in RGB"):
        read_rgb(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_damaged_files_are_named(tmp_path, colours):
    path = tmp_path / "a.jpg"
    with pytest.raises(DataError, match=r"a.jpg: no such file"):
        read_rgb(path)
    Image.fromarray(colours.repeat(20, 0).repeat(20, 1)).save(path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"not a picture", content[:30]):
        path.write_bytes(damaged)
        for read in (read_rgb, read_grey):
            with pytest.raises(
                DataError, match=r"a.jpg: (cannot be read as a picture, it is damaged or none|is empty)"
            ):
                read(path)
    (tmp_path / "b.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    with pytest.raises(DataError, match=r"b.tif: cannot be read as a picture"):
        read_grey(tmp_path / "b.tif")


def test_what_a_codec_raises_is_damage(tmp_path, colours):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, colours.astype(np.uint16) * 257, photometric="rgb", compression="zlib")
    np.testing.assert_array_equal(read_rgb(path), colours)
    with tifffile.TiffFile(path) as tif:
        start, n_bytes = tif.pages.first.dataoffsets[0], tif.pages.first.databytecounts[0]
    content = path.read_bytes()
    path.write_bytes(content[:start] + b"\xff" * n_bytes + content[start + n_bytes :])
    with pytest.raises(DataError, match=r"a.tif: cannot be read as a picture, it is damaged or none \("):
        read_rgb(path)


def test_shrinking_averages():
    stripes = np.tile(np.uint8([0, 200]), (8, 40))
    assert np.ptp(resize(stripes, 8, 20)[:, 2:-2].astype(int)) <= 2
    assert resize(stripes, 8, 80) is stripes


def test_a_number_of_a_decoder_is_no_depth_of_colours(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_by_opencv", None)  # for 16 bits a colour alone
    wide = np.random.default_rng(0).integers(0, 255, (4, 720, 3), np.uint8)  # 2160 bytes a row
    Image.fromarray(wide).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.bmp"), wide)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (np.zeros((4, 6), np.uint8), r"expected \(4, 5\) pixels as in 1\.png, found .*; single B-scans"),
        (np.zeros((4, 5), np.uint16), r"expected uint8 as in 1\.png, found uint16"),
    ],
    ids=["another size", "another type"],
)
def test_slices_are_read_up_to_the_first_that_differs(second, message, tmp_path, monkeypatch):
    """A folder of thousands of single B-scans is told as one before all are in the memory."""
    for number in (1, 3, 4, 5):
        Image.new("L", (5, 4)).save(tmp_path / f"{number}.png")
    Image.fromarray(second).save(tmp_path / "2.png")
    opened = []

    def noted(path):
        opened.append(path.name)
        return read_slice(path)

    monkeypatch.setattr(images, "read_slice", noted)
    with pytest.raises(DataError, match=rf"2\.png: {message}"):
        read_stack(tmp_path)
    assert opened == ["1.png", "2.png"]
