"""The report of an evaluation in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fund2oct.evaluation.own import PREFIX
from fund2oct.evaluation.report.columns import ANATOMY, QUALITY, TRUTH
from fund2oct.evaluation.report.differences import DIFFERENCES_TEXT, difference_table
from fund2oct.evaluation.report.lesion_tables import group_table, lesion_table, row_of
from fund2oct.evaluation.report.reliability import RELIABILITY_TEXT, reliability_table
from fund2oct.metrics.eyes.quality import ms_ssim_scales
from fund2oct.metrics.sets.estimate import LEAST_PATIENTS, DistanceResult
from fund2oct.visual.page import picture as show

if TYPE_CHECKING:
    from fund2oct.evaluation.report.pictures import Picture

Summary = Mapping[str, Mapping[str, Mapping[str, float]]]

SCATTER = {
    "thickness/error_um": "thickness error, µm",
    "aligned/retina_local_mean": "local-mean L1 of the retina",
    "shadow/agreement": "agreement of vessel shadows",
    "posed/ssim": "SSIM as they lie",
}
"""Values drawn eye by eye."""

_QUALITY_TEXT = """\
PSNR, SSIM, MS-SSIM and L1 compare the volumes as they lie and, in the column to the right of each,
*aligned*: flattened on the outer retina, over the voxels that were scanned. The local-mean L1
averages 5 x 5 pixels first, so that speckle hardly counts, and is taken from 450 µm above the aligned
outer retina to 100 µm below it. MS-SSIM takes {scales} scales. The perceptual distance compares the
features of EfficientNet-Lite0 without weights: it is not LPIPS. Sharpness is the energy above half the
Nyquist frequency over that of the real volumes: 1 is as sharp as real. Smoothing raises PSNR and SSIM:
read them beside the sharpness, and beside the floor."""

_ANATOMY_TEXT = """\
The inner limiting membrane and the pigment epithelium are found in the real and in the generated
volume by the same search. Errors are mean absolute differences over the A-scans where both were found,
± the standard error of a sample of patients; boundary errors are of the volumes as they lie. The
correlation is of the two thickness maps; vessel shadows are correlated en face, below the epithelium;
implausible A-scans have boundaries that cannot be. The height of the epithelium above the pose's surface is
correlated with the real one over the A-scans of all eyes with a detachment or drusen together. *In common
with other eyes* is the mean correlation of the contrast below the epithelium between different eyes: of the
real ones {2}, of a pattern that a model has memorised near 1, to be read with its noise off. Fluid and
elevation compare the volumes of dark pockets in the retina and of what lifts its epithelium, as estimated
from both volumes. Of the real volumes' A-scans
{0} have no thickness, and {1} of the others are implausible."""

_TRUTH_TEXT = """\
The simulation knows where the boundaries and the lesions are, and files of some scanners hold boundaries of
their own: these columns compare what was found in the answer with these, where those above compare it with
what was found in the real volume."""

_GROUPS_TEXT = """\
An eye with several diseases is in several groups; *flat* eyes have nothing that lifts or swells the
retina: normal ones, atrophy, haemorrhage."""

_LESIONS_TEXT = """\
One detector looks for each kind in the real and in the generated volume. *Found* is the share of the eyes
with the kind in which the answer shows it too, at some A-scan of the real one; *invented* the share of the
other eyes in which it shows the kind; *overlap* the Dice coefficient of the A-scans of all eyes. An eye has
a kind from 1 mm of scan on, all slices together. The first row, where there is a truth, is the detector
itself on the real volumes against the truth: what an answer can be trusted by."""

_DISTANCES_TEXT = f"""\
Distances are between the sets, not between eyes. The interval holds 95% of the sampling error at this
number of eyes; for less than {LEAST_PATIENTS} patients there is none, and no value of *many eyes*, which
extrapolates in 1/N. A distance of few eyes is too large even between two halves of the real set, so each
number is read beside the floor at the *same* number of eyes: the value of all eyes beside the
rescan, that of half of them beside the floor. A distance whose shuffled slices come out at the
floor does not notice their order."""


def report_text(
    result: Mapping[str, Any],
    distances: Mapping[str, Sequence[DistanceResult]],
    pictures: Sequence[Picture] = (),
) -> str:
    """The report: the protocol and its tables, as far as there is something to say in each.

    Args:
        result: what ``metrics.json`` holds, see :func:`fund2oct.evaluation.report.folder.write_report`.
        distances: for each answer measured as a set, the distances.
        pictures: each stands under the heading that it names.
    """

    def pictures_of(section: str) -> list[str]:
        return [
            line for one in pictures if one.section == section for line in ("", show(one.file, one.caption))
        ]

    protocol, summary = result["protocol"], _with_sets(result["summary"], result["sets"])
    n_eyes = protocol["n_eyes"]
    sets = (("data", "eyes of"), ("real", "real:"), ("fake", "generated:"))
    lines = [f"# Evaluation: {protocol['name']}", ""]
    lines += [f"{word} `{protocol[part]}`  " for part, word in sets if part in protocol]
    slices, rows, ascans = protocol["shape"]
    lines += [
        f"{n_eyes} eyes, {slices} slices of {ascans} x {rows} pixels (width x height), seed "
        f"{protocol['seed']}",
        "",
        protocol["statement"],
    ]
    if protocol["notes"]:
        lines += ["", *(f"* {note}" for note in protocol["notes"])]
    if eyes := pictures_of("Eyes"):
        lines += ["", "## Eyes", *eyes]
    lines += ["", "## Quality", "", *_table(summary, QUALITY, n_eyes), ""]
    lines += [_QUALITY_TEXT.format(scales=ms_ssim_scales(rows, ascans)), *pictures_of("Quality")]
    lines += ["", "## Anatomy", "", *_table(summary, ANATOMY, n_eyes), ""]
    real = next(iter(summary.values()))
    shares = [real[key]["mean"] for key in ("thickness/failed_real", "order/violations_real")]
    of_real = [*(("{:.1%}", share) for share in shares), ("{:.2f}", result["sets"]["real"]["deep/in_common"])]
    told = ["(not measured)" if math.isnan(value) else form.format(value) for form, value in of_real]
    lines.append(_ANATOMY_TEXT.format(*told))
    if result["differences"]:
        table = difference_table(result["differences"], ANATOMY, n_eyes)
        lines += ["", "### Differences, eye by eye", "", *table, "", DIFFERENCES_TEXT]
    if any(key in values for values in summary.values() for key in TRUTH):
        lines += ["", "### Against the truth", "", *_table(summary, TRUTH, n_eyes), "", _TRUTH_TEXT]
    if result["thickness_by_disease"]:
        lines += ["", "### Thickness error by disease, µm", ""]
        lines += [*group_table(result["thickness_by_disease"]), "", _GROUPS_TEXT]
    own = {key for values in summary.values() for key in values if key.startswith(PREFIX)}
    if own:
        columns = {key: (key.removeprefix(PREFIX), "{:.4g}") for key in sorted(own)}
        lines += ["", "## Measures of your own", "", *_table(summary, columns, n_eyes)]
    if result["lesions"]:  # surfaces alone have none
        lines += ["", "## Lesions", "", *lesion_table(result["lesions"], result["detectors"])]
        lines += ["", _LESIONS_TEXT]
    if result["reliability"]:
        lines += ["", "## Reliability", "", *reliability_table(result["reliability"]), "", RELIABILITY_TEXT]
        lines += pictures_of("Reliability")
    if distances:
        lines += ["", "## Distances", "", _DISTANCES_TEXT]
        for number, first in enumerate(next(iter(distances.values()))):
            results = {name: found[number] for name, found in distances.items()}
            lines += ["", f"### `{first.name}`", "", *_distance_table(results)]
        lines += pictures_of("Distances")
    if training := pictures_of("Training"):
        lines += ["", "## Training", *training]
    return "\n".join(lines) + "\n"


def _with_sets(summary: Summary, sets: Mapping[str, Mapping[str, float]]) -> Summary:
    """The summary, and the values of the whole set as if each eye had been measured."""
    return {
        name: {
            **values,
            **{
                key: {
                    "mean": value,
                    "standard_error": math.nan,
                    "n_eyes": 0 if math.isnan(value) else math.inf,
                }
                for key, value in sets.get(name, {}).items()
            },
        }
        for name, values in summary.items()
    }


def _table(summary: Summary, columns: Mapping[str, tuple[str, str]], n_eyes: int) -> list[str]:
    used = {key: column for key, column in columns.items() if any(key in each for each in summary.values())}
    lines = [row_of(["answer", *(title for title, _ in used.values())]), "|---|" + "---:|" * len(used)]
    for name, values in summary.items():
        cells = [
            _cell(key, form, values[key], n_eyes) if key in values else "-" for key, (_, form) in used.items()
        ]
        lines.append(row_of([name, *cells]))
    return lines


def _cell(key: str, form: str, value: Mapping[str, float], n_eyes: int) -> str:
    if not value["n_eyes"]:
        return "-"
    text = form.format(value["mean"])
    if key.endswith("_um") and not math.isnan(value["standard_error"]):  # one patient has none
        text += f" ± {value['standard_error']:.1f}"
    # A mean over the eyes that could be measured flatters: say over how many it is.
    return text if value["n_eyes"] >= n_eyes else f"{text} ({value['n_eyes']} of {n_eyes} eyes)"


def _distance_table(results: Mapping[str, DistanceResult]) -> list[str]:
    first = next(iter(results.values()))
    titles = [
        f"{first.n_real} eyes",
        "95%",
        "rescan",
        f"{first.floor_n} eyes" if first.floor_n else "half of the eyes",
        "floor",
        "slices shuffled",
        "many eyes",
    ]
    lines = [row_of(["answer", *titles]), "|---|" + "---:|" * len(titles)]
    for name, one in results.items():
        interval = "-" if one.interval is None else f"{one.interval[0]:.4g} to {one.interval[1]:.4g}"
        numbers = [one.rescan_floor, one.value_at_floor_n, one.floor, one.shuffle_control, one.extrapolated]
        rescan, *rest = ["-" if number is None else f"{number:.4g}" for number in numbers]
        lines.append(row_of([name, f"{one.value:.4g}", interval, rescan, *rest]))
    return lines
