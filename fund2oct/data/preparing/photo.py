"""The one way in for a photo, whoever brings it: importers, predictions and evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from fund2oct.data.preparing.circle import RetinaCircle, crop_retina, find_retina
from fund2oct.data.preparing.light_and_levels import LIGHT, even_light
from fund2oct.data.preparing.placing import PhotoPlacement, place_on
from fund2oct.eye import Array, Plain
from fund2oct.geometry import Placement


@dataclass(frozen=True)
class PhotoOptions:
    """What is done to a photo on its way in.

    Args:
        size_px: width to which the square around the circle of retina is resized.
        even_light: whether the illumination is evened out, see
            :func:`~fund2oct.data.preparing.light_and_levels.even_light`.
        placement: where the scan lies on the square, or that it is to be estimated from the photo; None
            where that is known from elsewhere, as from lines in pixels of the photo.

    Raises:
        ValueError: if ``size_px`` is not positive.

    Example:
        >>> options = PhotoOptions(size_px=256, placement=PhotoPlacement(half_width_mm=6.5))
        >>> options.even_light  # as long as nothing else is said, the light stays as it is
        False
    """

    size_px: int = 448
    even_light: bool = False
    placement: Placement | PhotoPlacement | None = field(default_factory=Placement)

    def __post_init__(self) -> None:
        if self.size_px < 1:
            raise ValueError(f"size_px: expected a positive width, found {self.size_px}")


@dataclass(frozen=True, eq=False)
class PreparedPhoto:
    """A photo as it is stored.

    Args:
        fundus: RGB, uint8, shape ``(size_px, size_px, 3)``.
        placement: where the scan lies on it.
        circle: the circle of retina in the picture as it came.
        notes: what is unusual, or uncertain.
        history: what was done, for the eye's ``history``.

    Example:
        >>> from fund2oct.data.formats.images import read_rgb
        >>> photo = prepare_photo(read_rgb("photo.png"), PhotoOptions(size_px=64))
        >>> photo.history["photo_size"], photo.circle.found, photo.notes
        ('176x144', True, ())
    """

    fundus: Array
    placement: Placement
    circle: RetinaCircle
    notes: tuple[str, ...]
    history: dict[str, Plain]


def prepare_photo(picture: Array, options: PhotoOptions, laterality: str = "") -> PreparedPhoto:
    """Bring a photo of any size and shape to the form that files of eyes and models have.

    The order is fixed: the square around the circle of retina is cut out and resized, the scan is placed on
    it, and then its light is evened. A network's own size comes last of all (:func:`resize_photo`).

    Args:
        picture: RGB, uint8, shape ``(rows, columns, 3)``, as :func:`fund2oct.data.formats.images.read_rgb`
            gives it.
        options: what to do.
        laterality: ``"OD"``, ``"OS"`` or empty; tells where the disc is sought.

    Returns:
        The square photo, where the scan lies on it, and what was done.

    Raises:
        NotAFundusError: if it is no photo of a retina.

    Example:
        >>> from fund2oct.data.formats.images import read_rgb
        >>> photo = prepare_photo(read_rgb("photo.png"), PhotoOptions(size_px=64, even_light=True))
        >>> photo.fundus.shape, photo.history["light"]
        ((64, 64, 3), 'evened')
    """
    circle = find_retina(picture)
    notes = list(circle.notes)
    history: dict[str, Plain] = {
        "photo_size": f"{picture.shape[1]}x{picture.shape[0]}",
        "circle_column": round(float(circle.x), 2),
        "circle_row": round(float(circle.y), 2),
        "circle_radius": round(float(circle.radius), 2),
    }
    fundus = crop_retina(picture, circle, options.size_px)
    placement = place_on(fundus, laterality, options.placement, history, notes)
    if options.even_light:
        fundus = even_light(fundus)
        history[LIGHT[0]] = LIGHT[1]
    return PreparedPhoto(fundus, placement, circle, tuple(notes), history)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures to what a network sees, with the frequencies removed that would alias.

    Args:
        images: in [0, 1], shape ``(B, C, rows, columns)``; colours or B-scans are resized each by itself.
        size: wanted rows and columns.

    Returns:
        Pictures in [0, 1], shape ``(B, C, *size)``.

    Example:
        >>> stripes = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 1, 64, 64)  # too fine for 16 pixels
        >>> resize(stripes, (16, 16))[0, 0, 0, 4:7]
        tensor([0.5000, 0.5000, 0.5000])
    """
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def photo_tensor(photo: Array) -> Tensor:
    """A photo as networks take it.

    Args:
        photo: RGB, uint8, shape ``(H, W, 3)``.

    Returns:
        Its intensities in [0, 1], shape ``(1, 3, H, W)``, in memory of their own.

    Example:
        >>> tensor = photo_tensor(np.full((32, 48, 3), 51, np.uint8))
        >>> tensor.shape, tensor.max()
        (torch.Size([1, 3, 32, 48]), tensor(0.2000))
    """
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255


def resize_photo(photo: Array, size_px: int) -> Array:
    """Resize a prepared photo as :func:`resize` does in training, rounded to bytes.

    Args:
        photo: RGB, uint8, shape ``(H, H, 3)``.
        size_px: wanted width.

    Returns:
        RGB, uint8, shape ``(size_px, size_px, 3)``.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> photo = EyeReader("eyes.h5").read("sim3-0000000-OD").fundus
        >>> photo.shape, resize_photo(photo, 32).shape
        ((48, 48, 3), (32, 32, 3))
    """
    if photo.shape[0] == size_px:
        return photo
    resized = resize(photo_tensor(photo), (size_px, size_px))[0]
    return (resized * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
