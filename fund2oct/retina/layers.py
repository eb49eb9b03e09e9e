"""Names of the retina's boundaries, from the vitreous to the choroid."""

from __future__ import annotations

BOUNDARIES: tuple[str, ...] = (
    "ILM",
    "RNFL_GCL",
    "GCL_IPL",
    "IPL_INL",
    "INL_OPL",
    "OPL_ONL",
    "ELM",
    "EZ",
    "IZ_RPE",
    "BM",
    "CSI",
)
"""Boundaries in the order of their depth. Each is named after the two layers that it parts, or after
the membrane or thin band that it is: ``ILM`` is the retina's inner surface, ``IZ_RPE`` the inner
surface of the pigment epithelium, ``BM`` Bruch's membrane, which stays where it is when a detachment
lifts the epithelium, and ``CSI`` the choroid's outer surface."""

SURFACES: tuple[str, ...] = ("ILM", "OS", "RPE", "BM")
"""Surfaces that :func:`~fund2oct.retina.find_retina` finds in any volume, in the order of their depth:
the retina's inner surface; the tips of the photoreceptors' outer segments, where the retina ends; the
inner surface of the pigment epithelium; and Bruch's membrane. ``OS`` lies on ``RPE`` but where
subretinal fluid parts them, ``RPE`` on ``BM`` but for the epithelium's own thickness, unless a detachment
or drusen lift it."""


EPITHELIUM_UM = 26.0
"""Thickness of the healthy pigment epithelium, from its inner surface to Bruch's membrane."""


def boundary_index(name: str) -> int:
    """Find the place of a boundary in an array of boundaries ``(n, S, X)``.

    Args:
        name: one of :data:`BOUNDARIES`.

    Returns:
        Its index along the first axis.

    Raises:
        ValueError: if there is no boundary of that name.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> depths_um = EyeReader("eyes.h5").read("sim3-0000000-OD").boundaries_um
        >>> depths_um[boundary_index("ILM")].shape  # (S, X)
        (6, 48)
    """
    if name not in BOUNDARIES:
        raise ValueError(f"boundary: expected one of {', '.join(BOUNDARIES)}, found {name!r}")
    return BOUNDARIES.index(name)
