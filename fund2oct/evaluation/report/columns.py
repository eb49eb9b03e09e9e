"""Values of an eye or a set in tables: by name, the head of the column and how a value is written."""

from __future__ import annotations

Columns = dict[str, tuple[str, str]]

QUALITY: Columns = {
    "posed/psnr": ("PSNR, dB ↑", "{:.2f}"),
    "aligned/psnr": ("aligned", "{:.2f}"),
    "posed/ssim": ("SSIM ↑", "{:.3f}"),
    "aligned/ssim": ("aligned", "{:.3f}"),
    "posed/ms_ssim": ("MS-SSIM ↑", "{:.3f}"),
    "aligned/ms_ssim": ("aligned", "{:.3f}"),
    "posed/l1": ("L1 ↓", "{:.4f}"),
    "aligned/l1": ("aligned", "{:.4f}"),
    "posed/perceptual_unweighted": ("perceptual ↓", "{:.3f}"),
    "aligned/perceptual_unweighted": ("aligned", "{:.3f}"),
    "aligned/retina_local_mean": ("local-mean L1 of the retina ↓", "{:.4f}"),
    "sharpness": ("sharpness", "{:.2f}"),
}
"""How alike the volumes are, as they lie and, beside it, aligned: with and without the pose."""

ANATOMY: Columns = {
    "thickness/error_um": ("thickness error, µm ↓", "{:.1f}"),
    "thickness/correlation": ("thickness correlation ↑", "{:.2f}"),
    "thickness/covered": ("80% interval covers", "{:.0%}"),
    "thickness/failed": ("A-scans without a thickness ↓", "{:.1%}"),
    "ilm/error_um": ("inner boundary error, µm ↓", "{:.1f}"),
    "rpe/error_um": ("outer boundary error, µm ↓", "{:.1f}"),
    "shadow/agreement": ("vessel shadows ↑", "{:.2f}"),
    "order/violations": ("implausible A-scans ↓", "{:.1%}"),
    "epithelium/correlation": ("height of the epithelium ↑", "{:.2f}"),
    "deep/in_common": ("in common with other eyes ↓", "{:.2f}"),
    "fluid/error_mm3": ("fluid error, mm³ ↓", "{:.3f}"),
    "elevation/error_mm3": ("elevation error, mm³ ↓", "{:.3f}"),
}
"""What was found in the answer, against what was found in the real volume by the same search."""

TRUTH: Columns = {
    "thickness/truth_error_um": ("thickness error, µm ↓", "{:.1f}"),
    "ilm/truth_error_um": ("inner boundary error, µm ↓", "{:.1f}"),
    "rpe/truth_error_um": ("outer boundary error, µm ↓", "{:.1f}"),
    "fluid/truth_error_mm3": ("fluid error, mm³ ↓", "{:.3f}"),
    "elevation/truth_error_mm3": ("elevation error, mm³ ↓", "{:.3f}"),
}
"""What was found in the answer, against what the simulation or the scanner knows."""
