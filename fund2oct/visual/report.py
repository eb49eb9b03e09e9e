"""The table and the figure of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

_COLUMNS = {
    "thickness_um": ("thickness error, µm", "{:.1f}"),
    "retina_local_mean": ("local-mean L1 of the retina", "{:.4f}"),
    "aligned_psnr": ("PSNR aligned, dB", "{:.2f}"),
    "aligned_ssim": ("SSIM aligned", "{:.3f}"),
    "aligned_l1": ("L1 aligned", "{:.4f}"),
    "lying_psnr": ("PSNR lying, dB", "{:.2f}"),
    "lying_ssim": ("SSIM lying", "{:.3f}"),
    "lying_l1": ("L1 lying", "{:.4f}"),
    "sharpness": ("sharpness", "{:.2f}"),
    "thickness_failed": ("A-scans without a thickness", "{:.1%}"),
}

_PROTOCOL = """\
Thickness is that from the inner limiting membrane to the pigment epithelium, found in the real and
in the generated volume by the same search; the error is the mean absolute difference over the
A-scans where both were found. *Aligned* compares in the frame flattened on the outer retina, over
the voxels that were scanned; *lying* compares the volumes as they are shown, each answer put at the
real scan's pose. The local-mean L1 averages 5 x 5 pixels first, so that speckle hardly counts, and
is taken from 450 µm above the aligned outer retina to 100 µm below it.
Sharpness is the energy above half the Nyquist frequency over that of the real volumes: 1 is as
sharp as real. Smoothing raises PSNR and SSIM: read them beside the sharpness, and beside the floor.
"""


def report_text(result: Mapping[str, Any]) -> str:
    """The report in Markdown: one row an answer, one column a metric, and the protocol."""
    protocol, summary = result["protocol"], result["summary"]
    lines = [
        "# Report",
        "",
        f"{protocol['n_test']} test eyes of `{protocol['data']}`, volumes {protocol['shape']} (S, Z, X); "
        f"{protocol['n_train']} training eyes for the controls.",
        "",
        "| answer | " + " | ".join(title for title, _ in _COLUMNS.values()) + " |",
        "|---|" + "---:|" * len(_COLUMNS),
    ]
    for name, row in summary.items():
        cells = [form.format(row[column]) for column, (_, form) in _COLUMNS.items()]
        cells[0] += f" ± {row['thickness_um_standard_error']:.1f}"
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _PROTOCOL])


def draw_scatter(eyes: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Thickness error and aligned PSNR of each eye, a column an answer."""
    figure = Figure(figsize=(1.5 * len(eyes) + 2, 6), dpi=110, layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, column in zip(panels, ("thickness_um", "aligned_psnr"), strict=True):
        for place, rows in enumerate(eyes.values()):
            values = [row[column] for row in rows]
            spread = [place + 0.5 * (i / max(1, len(values) - 1) - 0.5) for i in range(len(values))]
            axes.plot(spread, values, ".", alpha=0.6)
        axes.boxplot(
            [[row[column] for row in rows if row[column] == row[column]] for rows in eyes.values()],
            positions=range(len(eyes)), widths=0.6, showfliers=False, manage_ticks=False,
        )  # fmt: skip
        axes.set_ylabel(_COLUMNS[column][0])
        axes.grid(alpha=0.3)
    panels[-1].set_xticks(range(len(eyes)), list(eyes), rotation=20, ha="right")
    return figure
