"""Which eyes a model has seen."""

import json

import pytest
from eye_files import write_eyes

from fund2oct.data import EyeReader, EyeWriter
from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.loading.split import EyeName, SeenEyes
from fund2oct.data.store.patients import hashed_patient


@pytest.fixture
def trained():
    return SeenEyes(
        "a.h5",
        "digest",
        "split_seed 3",
        {
            "train": (EyeName("k1", "p1", "photo1"), EyeName("k2", "p2", "")),
            "val": (EyeName("k3", "p3", "photo3"),),
            "test": (EyeName("k4", "p4", "photo4"),),
        },
    )


@pytest.mark.parametrize(
    "name, is_left_out",
    [
        (("k1", "x", "x"), True),
        (("x", "p2", "x"), True),
        (("x", "x", "photo3"), True),
        (("k4", "p4", "photo4"), False),
        (("x", "x", "x"), False),
        # No photo is no photo in common.
        (("x", "x", ""), False),
    ],
)
def test_an_eye_is_known_by_key_patient_or_photo(trained, name, is_left_out):
    held = trained.held_out([EyeName(*name)], "another", "b.h5")
    assert (held.keys == ()) is is_left_out
    assert ("1 of its 1 eyes are left out" in held.how) is is_left_out


@pytest.mark.parametrize("stored", ["0071", hashed_patient("0071", "")])
def test_a_patient_is_known_by_name_and_by_hash(stored):
    parts = {"train": (EyeName("k1", stored, ""),), "val": (), "test": ()}
    seen = SeenEyes("a.h5", "digest", "split_seed 0", parts)
    names = [EyeName(key, key, "") for key in ("0071", hashed_patient("0071", ""), "0072")]
    for known in (seen, seen.for_publishing()):
        assert known.held_out(names, "another", "b.h5").keys == ("0072",)
    assert "0071" not in str(seen.for_publishing()), "a published name cannot be read"


@pytest.mark.parametrize("known", [("k1", "x", "x"), ("x", "p2", "x"), ("x", "x", "photo3")])
def test_weights_that_know_a_test_eye_begin_no_training(trained, known):
    parts = {
        "train": (EyeName("n1", "n1", ""),),
        "val": (),
        "test": (EyeName("n2", "n2", ""), EyeName(*known)),
    }
    expected = "trained on 1 of the 2 eyes that it keeps .* Split the data as then .a.h5: split_seed 3"
    with pytest.raises(ValueError, match=expected):
        trained.check_apart(SeenEyes("b.h5", "other", "split_seed 0", parts))
    trained.check_apart(trained)


def test_of_the_very_same_data_the_test_part_is_taken(trained):
    names = [name for part in trained.parts.values() for name in part]
    held = trained.held_out([*names, EyeName("new", "new", "new")], "digest", "moved.h5")
    assert held.keys == ("k4",)
    assert "split_seed 3, 2 eyes to train, 1 to validate, 1 to test" in held.how


@pytest.fixture
def begun(trained):
    """Those of a training on other eyes, which began with the weights of the first one."""
    parts = {part: (EyeName(f"n{part}", f"m{part}", ""),) for part in ("train", "val", "test")}
    return SeenEyes("b.h5", "other", "split_seed 0", parts, (trained,))


def test_eyes_of_an_earlier_training_are_left_out_too(begun):
    names = [
        EyeName("k1", "x", ""),
        EyeName("x", "p3", ""),
        EyeName("k4", "p4", ""),
        EyeName("new", "new", ""),
    ]
    held = begun.held_out(names, "a third", "c.h5")
    assert held.keys == ("k4", "new")
    assert "2 of its 4 eyes are left out" in held.how
    assert "began with what was learned on `a.h5`." in held.how and "began" in begun.how()
    for again in (begun.for_publishing(), SeenEyes.from_dict(json.loads(json.dumps(begun.to_dict())))):
        assert again.held_out(names, "a third", "c.h5") == held


def test_weights_know_what_was_seen_two_trainings_ago(begun):
    later = SeenEyes.of_keys(["other"], test=["k2"])
    with pytest.raises(
        ValueError, match=r"trained on 1 of the 1 eyes .*\(k2\).*b.h5: split_seed 0; a.h5: split"
    ):
        begun.check_apart(later)


def test_it_is_stored_as_plain_values(trained):
    assert SeenEyes.from_dict(json.loads(json.dumps(trained.to_dict()))) == trained


def test_a_digest_is_of_the_eyes_not_of_the_file(tmp_path, make_eye):
    eyes = [make_eye(number) for number in range(4)]
    whole, again = write_eyes(tmp_path / "whole.h5", eyes), write_eyes(tmp_path / "again.h5", eyes[::-1])
    halves = [write_eyes(tmp_path / "one.h5", eyes[:2]), write_eyes(tmp_path / "two.h5", eyes[2:])]
    changed = write_eyes(tmp_path / "changed.h5", [*eyes[:3], make_eye(3, diagnosis="other")])
    digests = [EyeReader(path).digest() for path in (whole, again, halves, changed, halves[0])]
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests)) == 3


def test_a_photo_without_a_file_is_known_by_its_pixels(tmp_path, make_eye):
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        writer.add(make_eye(0))
        writer.add(make_eye(1, sha256=""))
        writer.add(make_eye(2, sha256="", fundus=make_eye(1).fundus))
        writer.add(make_eye(3, sha256="", fundus=None, lesion_fundus=None))
    with EyeReader(tmp_path / "eyes.h5") as reader:
        photos = [name.photo for name in EyeIndex.read(reader).names()]
    assert photos[0] == "ab" * 32 and photos[1].startswith("crc32:")
    assert photos[1] == photos[2] and photos[3] == ""
