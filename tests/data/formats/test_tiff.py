"""Stacks in a TIFF: the same voxels and the right millimetres, however they lie in the file."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from fund2oct.data.formats.stacks import read_stack
from fund2oct.eye import DataError
from fund2oct.levels import to_bytes


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(1, 250, (5, 8, 9)).astype(np.uint8)


def shown(path):
    stack = read_stack(path)
    return to_bytes(stack.volume, stack.levels or (0, 255))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_compressed_pages_are_read_without_further_packages(volume, tmp_path, compression):
    first, *others = map(Image.fromarray, volume)
    first.save(tmp_path / "a.tif", save_all=True, append_images=others, compression=compression)
    np.testing.assert_array_equal(shown(tmp_path / "a.tif"), volume)


def lzw(data):
    """LZW of single bytes alone; a table that is cleared in time keeps its codes at nine bits."""
    codes = [code for start in range(0, len(data), 200) for code in (256, *data[start : start + 200])]
    bits = "".join(f"{code:09b}" for code in (*codes, 257))
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def write_lzw(path, volume):
    """Pages in LZW whose numbers begin with the upper byte, which neither tifffile nor Pillow writes."""
    rows, columns = volume.shape[1:3]
    n_colours, bits = volume[0, 0, 0].size, 8 * volume.itemsize
    file, link = bytearray(b"MM\0*\0\0\0\0"), 4
    for page in volume:
        strip = lzw(page.astype(page.dtype.newbyteorder(">")).tobytes())
        start = len(file)
        file += struct.pack(">3H", bits, bits, bits) + strip + bytes(len(strip) % 2)
        struct.pack_into(">I", file, link, len(file))
        tags = [
            (256, "I", columns), (257, "I", rows), (258, "I" if n_colours > 1 else "H", bits), (259, "H", 5),
            (262, "H", 2 if n_colours > 1 else 1), (273, "I", start + 6), (277, "H", n_colours),
            (278, "I", rows), (279, "I", len(strip)), (339, "H", 2 if volume.dtype.kind == "i" else 1),
        ]  # fmt: skip
        file += struct.pack(">H", len(tags))
        for tag, kind, value in tags:
            if (tag, n_colours) == (258, 3):  # one for each colour, which stand before the pixels
                file += struct.pack(">HHII", tag, 3, 3, start)
            else:
                file += struct.pack(f">HHI{kind}", tag, 4 if kind == "I" else 3, 1, value).ljust(12, b"\0")
        link = len(file)
        file += bytes(4)
    path.write_bytes(file)


def test_numbers_that_begin_with_the_upper_byte_keep_all_their_bits(volume, tmp_path):
    deep = volume.astype(np.uint16) * 250 + 7
    write_lzw(tmp_path / "a.tif", deep)
    found = read_stack(tmp_path / "a.tif").volume
    np.testing.assert_array_equal(found, deep)
    assert (found.dtype.kind, found.dtype.itemsize) == ("u", 2)


def test_what_would_lose_bits_or_swap_them_without_the_package_names_it(volume, tmp_path):
    deep = volume.astype(np.uint16) * 250 + 7
    needs = r'a\.tif: its pages are compressed by LZW, which needs a package: .* "fund2oct\[tiff\]"'
    write_lzw(tmp_path / "a.tif", np.repeat(deep[..., None], 3, -1))
    with pytest.raises(DataError, match=rf"{needs} \(its colours have 16 bits"):
        read_stack(tmp_path / "a.tif")
    write_lzw(tmp_path / "a.tif", (deep // 2).astype(np.int16))
    with pytest.raises(DataError, match=rf"{needs} \(its numbers have a sign"):
        read_stack(tmp_path / "a.tif")


def test_slices_with_a_sign_that_begin_with_the_upper_byte_are_what_they_were(volume, tmp_path):
    deep = volume.astype(np.int16) * 100 + 7
    for number, bscan in enumerate(deep):
        tifffile.imwrite(
            tmp_path / f"{number}.tif", bscan, photometric="minisblack", byteorder=">", compression="zlib"
        )
    np.testing.assert_array_equal(read_stack(tmp_path).volume, deep)


def test_a_compression_that_needs_a_package_is_named(volume, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", volume, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        for page in tif.pages:
            page.tags["Compression"].overwrite(34712)  # JPEG 2000
    with pytest.raises(DataError, match=r'by JPEG2000, which needs a package: .* "fund2oct\[tiff\]"'):
        read_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [8, 16])
def test_where_zero_is_white_it_is_turned_round(volume, tmp_path, bits):
    light = volume if bits == 8 else volume.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", np.iinfo(light.dtype).max - light, photometric="miniswhite")
    np.testing.assert_array_equal(shown(tmp_path / "a.tif"), volume)
    folder = tmp_path / "eye"
    folder.mkdir()
    for number, bscan in enumerate(np.iinfo(light.dtype).max - light):
        tifffile.imwrite(folder / f"{number}.tif", bscan, photometric="miniswhite")
    np.testing.assert_array_equal(shown(folder), volume)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_pages_in_colour_become_grey(volume, tmp_path, planar):
    colour = np.repeat(volume[..., None], 3, -1)
    colour = colour if planar == "contig" else np.moveaxis(colour, -1, 1)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(shown(tmp_path / "a.tif"), volume)


def test_the_largest_resolution_is_read(volume, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(volume, photometric="minisblack", subifds=1, metadata={"axes": "ZYX"})
        tif.write(volume[:, ::2, ::2], photometric="minisblack", subfiletype=1)
    np.testing.assert_array_equal(shown(tmp_path / "a.tif"), volume)


def test_what_is_no_stack_is_named(volume, tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for part in (volume[0], volume[0, :, 1:]):
            tif.write(part, photometric="minisblack")
    with pytest.raises(DataError, match="expected one stack of B-scans, a page each, found 8x9, 8x8"):
        read_stack(path)
    with tifffile.TiffWriter(path) as tif:
        for part in (volume, volume[:, :, 1:]):
            tif.write(part, photometric="minisblack")
    with pytest.raises(DataError, match="expected one stack of B-scans, a page each, found 5x8x9, 5x8x8"):
        read_stack(path)
    palette = np.random.default_rng(0).integers(0, 65535, (3, 256), np.uint16)
    tifffile.imwrite(path, volume, photometric="palette", colormap=palette)
    with pytest.raises(DataError, match="its pages have a palette of colours; save them in grey"):
        read_stack(path)


def test_ome_and_imagej_tell_their_spacing(volume, tmp_path):
    ome = {"axes": "ZYX", "PhysicalSizeX": 11.7, "PhysicalSizeY": 3.9, "PhysicalSizeZ": 0.12}
    ome |= {"PhysicalSizeZUnit": "mm"}  # the others are in micrometres, as by default
    tifffile.imwrite(tmp_path / "a.ome.tif", volume, photometric="minisblack", metadata=ome)
    assert read_stack(tmp_path / "a.ome.tif").spacing_mm == pytest.approx((0.12, 0.0039, 0.0117))
    imagej = {"spacing": 120.0, "unit": "um", "axes": "ZYX"}
    resolution = (1 / 11.7, 1 / 3.9)
    tifffile.imwrite(tmp_path / "b.tif", volume, imagej=True, resolution=resolution, metadata=imagej)
    assert read_stack(tmp_path / "b.tif").spacing_mm == pytest.approx((0.12, 0.0039, 0.0117), rel=1e-4)
    for unit, is_known in ((r"\u00B5m", True), (r"\u00b5m", True), ("inch", False)):
        tifffile.imwrite(
            tmp_path / "u.tif", volume, imagej=True, resolution=resolution, metadata=imagej | {"unit": unit}
        )
        spacing = read_stack(tmp_path / "u.tif").spacing_mm
        assert spacing == (pytest.approx((0.12, 0.0039, 0.0117), rel=1e-4) if is_known else None)
    # The axes of the file are those of the spacing.
    assert read_stack(tmp_path / "b.tif", "zsx").spacing_mm == pytest.approx((0.0039, 0.12, 0.0117), rel=1e-4)
    tifffile.imwrite(
        tmp_path / "c.tif", volume, photometric="minisblack", resolution=(72, 72), resolutionunit=2
    )
    assert read_stack(tmp_path / "c.tif").spacing_mm is None, "dots an inch are for printing"


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("colour", [False, True])
def test_a_single_page_is_a_volume_of_one_slice_as_a_png_is(volume, tmp_path, compression, colour):
    page = Image.fromarray(volume[0]).convert("RGB" if colour else "L")
    page.save(tmp_path / "one.png")
    page.save(tmp_path / "one.tif", compression=compression)
    np.testing.assert_array_equal(read_stack(tmp_path / "one.tif").volume, volume[:1])
    np.testing.assert_array_equal(read_stack(tmp_path / "one.png").volume, volume[:1])


def test_a_single_page_keeps_its_spacing_and_gives_way_to_a_stack(volume, tmp_path):
    ome = {"axes": "YX", "PhysicalSizeX": 11.7, "PhysicalSizeY": 3.9}
    tifffile.imwrite(tmp_path / "a.ome.tif", volume[0], photometric="minisblack", metadata=ome)
    s_mm, *others = read_stack(tmp_path / "a.ome.tif").spacing_mm
    assert np.isnan(s_mm) and others == pytest.approx([0.0039, 0.0117])
    with tifffile.TiffWriter(tmp_path / "b.tif") as tif:
        tif.write(volume, photometric="minisblack")
        tif.write(volume[0, :5], photometric="minisblack")  # the stack is what is read
    np.testing.assert_array_equal(shown(tmp_path / "b.tif"), volume)
