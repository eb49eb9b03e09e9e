"""Train all entries under one budget, judge them on the same eyes, and write the table and its pictures.

    python benchmarks/leaderboard/leaderboard.py [PLAN.yaml] [KEY=VALUE ...]

PLAN.yaml is `small.yaml` beside this file (default), `full.yaml` or your own; KEY=VALUE differs from it. What
is done is not done again: stop it when you like, and give the same command to go on. Models and reports go to
`runs/leaderboard` (`--out`), the table to `docs/results/leaderboard.txt` and the pictures to `docs/images`
(`--docs`). A try needs folders of its own: `minutes=1 seeds=[0] --out runs/try --docs try`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from checks import check_plan
from figures import draw_eye, draw_standings, save
from judging import eyes_of, judge, own_classes
from measures import ANATOMY, REALISM
from plan import Plan, asked, run
from standing import Standings
from tables import Line, budget, results
from trainings import Training, train_plan

from fund2oct.data import FundusOCTDataModule
from fund2oct.evaluation.answers.answer import SHUFFLED, Answer
from fund2oct.evaluation.answers.controls import model_answers, surface_answers
from fund2oct.evaluation.answers.training_eyes import TrainingEyes
from fund2oct.models import VolumeGAN, VolumeModel, load_model
from fund2oct.models.checkpoint import import_class
from fund2oct.models.thickness import PredictsSurfaces
from fund2oct.networks.features import FeatureNetwork
from fund2oct.networks.foundation.backbone import Backbone

SHOWN = "PED"
"""Diagnosis of the eye that is drawn: what a model without the photo cannot know."""
_PICTURES = (
    "### Pictures",
    "",
    "![Values of the entries with their intervals; lines: floors and controls](images/leaderboard.webp)",
    "",
    "![One test eye: the real volume, and that of each entry](images/leaderboard_eye.webp)",
)


def main(words: list[str] | None = None) -> None:
    """Train, judge and write."""
    plan, out, docs = asked(words, __doc__, "small.yaml", "runs/leaderboard")
    check_plan(plan, out)  # it warns, of eyes of another version
    warnings.filterwarnings("ignore")
    trainings = train_plan(plan, out)
    standings = judge(plan, trainings, out / "reports", answers_to_judge(plan))
    write(plan, trainings, standings, docs)


def write(plan: Plan, trainings: list[Training], standings: Standings, docs: Path) -> None:
    """Write the table and the pictures of finished trainings."""
    lines = lines_of(plan)
    trained = {
        name: [one for one in trainings if one.name == name and not one.failure] for name in plan.entries
    }
    trained = {name: each for name, each in trained.items() if each}
    known = {name: [one.known() for one in each] for name, each in trained.items()}
    first = next(iter(known.values()))[0]
    data = eyes_of(next(iter(trained.values()))[0])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = models_of(trained, device)
    what = "simulated" if data.simulated else "real"
    told = (
        f"{data.n_eyes_of('train')} {what} eyes to train, {standings.n_eyes} to test, volumes of "
        f"{' x '.join(map(str, data.shape))} voxels. Each training has {plan.minutes:g} minutes on "
        f"{first['device']}, threads: {first['threads']}, trainings side by side: {plan.at_once}. "
        f"Seeds: {len(plan.seeds)}."
    )
    text = [told, "", *results(standings, lines, failures(plan, trainings)), "", "### Budget and tuning", ""]
    frozen = {
        name: [frozen_of(model.build_generator()), frozen_of(discriminators_of(model))]
        for name, model in models.items()
    }
    augmented = {name: augmentation_of(eyes_of(each[0])) for name, each in trained.items()}
    text += budget(known, augmented, frozen, {name: tuning_of(plan, name) for name in plan.entries})
    text += ["", *_PICTURES]
    table = docs / "results" / "leaderboard.txt"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(text) + "\n", encoding="utf-8")
    images = docs / "images"
    save(draw_standings(standings, lines, [*ANATOMY, *REALISM]), images / "leaderboard.webp")
    with torch.inference_mode():
        answers = answers_of(plan, models, {name: each[0] for name, each in trained.items()}, data, device)
        save(draw_eye(data, answers, SHOWN, device), images / "leaderboard_eye.webp")
    print(f"{table}, {images / 'leaderboard.webp'}, {images / 'leaderboard_eye.webp'}")


def models_of(trained: Mapping[str, Sequence[Training]], device: torch.device) -> dict[str, VolumeModel]:
    """The model of the first training of each entry."""
    first = {name: each[0] for name, each in trained.items()}
    classes = [import_class(path) for path in own_classes(first.values())]
    return {name: load_model(each.checkpoint, classes, device) for name, each in first.items()}


def lines_of(plan: Plan) -> list[Line]:
    """The rows of all entries."""
    return [
        Line(row, f"{name} {{seed}}{end}")
        for name, entry in plan.entries.items()
        for row, end in (entry.rows or {name: ""}).items()
    ]


def answers_to_judge(plan: Plan) -> list[str]:
    """The rows by their names in a report, and the same with the photos of others."""
    rows = [line.answer for line in lines_of(plan)]
    return [*rows, *(row + SHUFFLED for row in rows if plan.shuffled_photos)]


def failures(plan: Plan, trainings: Sequence[Training]) -> dict[str, str]:
    """Of each row whose trainings diverged, how many did, and how the first of them said it."""
    found = {}
    for name, entry in plan.entries.items():
        said = [one.failure for one in trainings if one.name == name]
        if failed := [*filter(None, said)]:
            told = f"failed in {len(failed)} of {len(said)} seeds, and has no rank: {failed[0]}."
            found |= {row: told for row in entry.rows or {name: ""}}
    return found


def tuning_of(plan: Plan, name: str) -> str:
    """How much an entry was tuned, and the pre-trainings that come before its own minutes."""
    entry = plan.entries[name]
    if not entry.begins_with:
        return entry.tuning
    return f"{entry.tuning}; begins with {', '.join(entry.begins_with)}, {plan.minutes:g} minutes each"


def augmentation_of(data: FundusOCTDataModule) -> str:
    """How the training eyes are augmented."""
    eyes = data.train_dataset
    maps, light = eyes.photo_maps, eyes.photometry.strength
    own = "" if eyes.transform is None else ", and a transform of its own"
    return f"symmetries: {eyes.symmetries}; maps: {maps:g}; light: {light:g}{own}"


def frozen_of(network: torch.nn.Module) -> str:
    """The weights of a network that others have trained and that are not trained on, and whose they are."""
    found = []
    for part in network.modules():
        size = sum(weight.numel() for weight in part.parameters() if not weight.requires_grad)
        if size and isinstance(part, FeatureNetwork | Backbone):
            found.append(f"{size / 1e6:.2f} M of {type(part).__name__}")
    return " + ".join(found) or "none"


def discriminators_of(model: VolumeModel) -> torch.nn.ModuleDict:
    """The discriminators that a model is trained with, with random weights."""
    return model.build_discriminators() if isinstance(model, VolumeGAN) else torch.nn.ModuleDict()


def answers_of(
    plan: Plan,
    models: Mapping[str, VolumeModel],
    trainings: Mapping[str, Training],
    data: FundusOCTDataModule,
    device: torch.device,
) -> list[Answer]:
    """The rows of one training of each entry as answers; those that draw no volume are left out.

    Args:
        plan: says which rows there are.
        models: by the entries' names.
        trainings: those that the models are of.
        data: the eyes.
        device: of the models.

    Returns:
        The answers, by the rows' names.
    """
    training_eyes = TrainingEyes(data, device)
    found = []
    for name, model in models.items():
        training = trainings[name]
        given: list[Answer] = []
        if model.draws_volumes:
            # No row is shown the photo of another eye.
            given += model_answers({training.answer: model}, lambda key: {}, training.seed)
        if isinstance(model, PredictsSurfaces):
            given += surface_answers(training.answer, model, training_eyes, training.seed)
        by_name = {answer.name: answer for answer in given}
        rows = plan.entries[name].rows or {name: ""}
        # Rows of what is told of others have surfaces alone.
        there = {row: training.answer + end for row, end in rows.items() if training.answer + end in by_name}
        found += [replace(by_name[answer], name=row) for row, answer in there.items()]
    return found


if __name__ == "__main__":
    run(main)
