"""What cannot be measured is left out and named; it takes nothing else with it."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from fund2oct.evaluation.compare import compare
from fund2oct.evaluation.distances import Distances, Wanted, build_distances
from fund2oct.evaluation.files import _given
from fund2oct.evaluation.own import LoadedEyes, Own
from fund2oct.evaluation.report.lesion_tables import group_table
from fund2oct.evaluation.report.tables import report_text
from fund2oct.geometry import RadialScan
from fund2oct.processes import Here

CPU = torch.device("cpu")
TINY = Wanted(("image:tiny_network:build",), required=True, thorough=False)


def test_an_eye_with_a_blank_slice_is_left_out_of_the_distances_alone():
    keys = [f"e{number}" for number in range(8)]
    volume, fake = torch.rand(2, 8, 1, 6, 32, 48, generator=torch.Generator().manual_seed(0))
    blank, rescan = volume.clone(), volume.flip(-1)
    blank[2, 0, 3] = 0.5
    rescan_blank = rescan.clone()
    rescan_blank[7, 0, 1] = 0

    def measured(numbers, volume, rescan):
        distances = build_distances(TINY, None, 8, CPU)
        batches = [numbers[:4], numbers[4:]]
        for part in batches:
            batch = {"key": [keys[n] for n in part], "volume": volume[part], "rescan": rescan[part]}
            distances.add_real(batch)
            distances.add_fake("model", fake[part], batch)
            distances.add_fake("floor", batch["rescan"], batch)
        return distances.compute(Here())

    found, notes = measured([*range(8)], blank, rescan_blank)
    assert notes == [
        "Eye e2 is left out of the distances: slice 3 of its volume is of one grey value.",
        "Eye e7 is left out of the distances: slice 1 of its rescan is of one grey value.",
    ]
    without, none = measured([0, 1, 3, 4, 5, 6], volume, rescan)
    assert none == [] and found.keys() == without.keys() == {"model", "floor"}
    for name, (one,) in found.items():
        assert one.n_real == one.n_fake == 6
        assert one.value == pytest.approx(without[name][0].value, rel=1e-6)


def test_one_slice_is_no_film():
    scan = RadialScan(1)
    asked = Wanted(("video:tiny_network:build",), required=True, thorough=False)
    with pytest.raises(ValueError, match=r"distance 'video:tiny_network:build': expected .* two slices"):
        build_distances(asked, scan, 8, CPU)
    found = build_distances(Wanted(asked.specs, required=False, thorough=False), scan, 8, CPU)
    assert found.compute(Here()) == (
        {},
        ["The video:tiny_network:build distance is left out: the volumes have one slice."],
    )


class Streamed(IterableDataset):
    """Eyes without a number of eyes."""

    def __init__(self, eyes):
        self.eyes = eyes

    def __iter__(self):
        return iter(self.eyes)


def test_eyes_of_ones_own_may_have_numbers_for_names_and_come_as_a_stream(datamodule):
    eyes = [
        {**datamodule.test_dataset[number], "patient": number // 2, "diagnosis": number}
        for number in range(3)
    ]
    loader = DataLoader(Streamed(eyes), batch_size=2)
    loaded = LoadedEyes(SimpleNamespace(test_dataloader=lambda: loader), CPU)
    assert loaded.patients == ("0", "0", "1") and loaded.n_batches == 2
    assert [batch["diagnosis"] for batch in loaded.batches()] == [["0", "1"], ["2"]]
    for loaders in ([loader, DataLoader(eyes[:1])], {"a": loader, "b": DataLoader(eyes[:1])}):
        several = LoadedEyes(SimpleNamespace(test_dataloader=lambda found=loaders: found), CPU)
        assert several.keys == (*loaded.keys, eyes[0]["key"]) and several.n_batches == 3


def test_two_rows_or_measures_of_one_name_are_refused(eyes):
    with pytest.raises(ValueError, match=r"answer 'generated': two rows of the report have this name"):
        compare(eyes, [_given(), _given()], Distances([]), Here())
    with pytest.raises(ValueError, match=r"measure 'torch.add': another one has the name 'add' too"):
        Own.load(["numpy.add", "torch.add"])


def test_a_mean_over_some_eyes_of_a_group_says_so():
    def mean(value, n_eyes):
        return {"mean": value, "standard_error": 1.0, "n_eyes": n_eyes}

    table = group_table({"good": {"flat": mean(20.0, 12)}, "poor": {"flat": mean(9.0, 3)}})
    assert table[0] == "| answer | flat (12 eyes) |"
    assert table[2:] == ["| good | 20.0 ± 1.0 |", "| poor | 9.0 ± 1.0 (3 of 12 eyes) |"]


def test_what_the_real_eyes_do_not_tell_is_no_nan_in_the_text():
    nothing = {"mean": float("nan"), "standard_error": float("nan"), "n_eyes": 0}
    result = {
        "protocol": dict(name="one", statement="", notes=[], n_eyes=1, shape=(6, 32, 48), seed=0),
        "summary": {"model": {"thickness/failed_real": nothing, "order/violations_real": nothing}},
        "sets": {"real": {"deep/in_common": float("nan")}},
        "differences": {}, "thickness_by_disease": {}, "lesions": {}, "detectors": {}, "reliability": {},
    }  # fmt: skip
    text = report_text(result, {})
    assert "nan" not in text.replace("another", "") and text.count("(not measured)") == 3
