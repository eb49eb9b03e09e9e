"""What holds for every command: it explains itself, can be made quiet, and answers programs."""

import argparse
import json
import pickle
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import Future
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.cli import main
from fund2oct.cli.commands import leaves
from fund2oct.cli.main import build_parser
from fund2oct.cli.models import _tell_where
from fund2oct.data import EyeReader
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.processes import Here

pytestmark = pytest.mark.usefixtures("plain_pictures")
COMMANDS = {command.prog: command for command in leaves(build_parser())}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    eye = simulate_eye(0, 5, PhantomConfig(fundus_px=100, n_depth=32, n_ascans=48))
    path = tmp_path_factory.mktemp("photo") / "eye.png"
    Image.fromarray(eye.fundus).save(path)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself(name):
    command = COMMANDS[name]
    assert command.description[0].isupper() and command.description.endswith(".")
    assert not command.get_default("go_on").endswith(".")
    assert {"--help", "--quiet", "--debug"} <= set(command._option_string_actions)
    titles = [group.title for group in command._action_groups if group._group_actions]
    assert titles[-1] == "general" and "options" not in titles
    for action in command._actions:
        assert action.help, f"{name} {action.dest}: says nothing"
        has_default = action.option_strings and action.default not in (None, False, "", argparse.SUPPRESS, [])
        if has_default and "(default" not in action.help:
            shown = command.formatter_class("")._get_help_string(action)
            assert shown.endswith("(default: %(default)s)"), shown


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_calls_that_are_understood(name):
    _, *examples = COMMANDS[name].epilog.splitlines()
    assert examples
    for example in examples:
        call = example.partition("#")[0].replace('eval "$(', "").replace(')"', "").partition(">")[0]
        program, *words = shlex.split(call)
        assert program == "fund2oct" and name.split()[1:] == words[: len(name.split()) - 1]
        build_parser().parse_args(words)


@pytest.mark.parametrize(
    ("words", "workers"), [("simulate out.h5 --eyes 4", 3), ("predict eye.jpg --out out", 2)]
)
def test_workers_are_those_of_the_job_and_not_of_the_machine(words, workers, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {4, 5, 6})
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    assert build_parser().parse_args(words.split()).workers == workers


@pytest.mark.parametrize("words", [["--quiet"], []])
def test_quiet_says_nothing_but_what_is_wrong(words, tiny_eyes, tmp_path, capsys):
    sizes = ["--eyes", "1", "--shape", "32", "48", "--fundus-px", "48", "--workers", "1"]
    assert main(["simulate", str(tmp_path / "new/a.h5"), *sizes, *words]) == 0
    assert main(["check", str(tiny_eyes), *words]) == 0
    printed = capsys.readouterr().out
    assert (printed == "") == bool(words)
    assert ("Next: fund2oct view" in printed) != bool(words)
    (tmp_path / "bad.h5").write_bytes(tiny_eyes.read_bytes()[:9000])
    assert main(["check", str(tmp_path / "bad.h5"), *words]) == 1
    assert "bad.h5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "words"), [("my_model.Smoother", " --model my_model.Smoother"), ("fund2oct.models.Pix2Vol", "")]
)
def test_after_a_training_comes_a_call_that_finds_its_class(path, words, tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    saved = {"fund2oct": {"class": path}, "state_dict": {}, "hyper_parameters": {}}
    torch.save(saved, tmp_path / "checkpoints/last.ckpt")
    _tell_where(tmp_path)
    run, following, _ = capsys.readouterr().out.splitlines()[1:]
    assert run == f"The run lies in {tmp_path}."
    assert following.endswith(f"{tmp_path}/checkpoints/last.ckpt PHOTO.jpg --out predictions{words}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": "own"}, ["encoder=own"]),
        ({"encoder": "efficientnet_lite0"}, ["encoder=efficientnet_lite0", "fine_tune=true"]),
        (
            {"encoder": "efficientnet_lite0", "encoder_px": 448},
            ["encoder=efficientnet_lite0", "encoder_px=448", "fine_tune=true"],
        ),
        (
            {"encoder": "dinov2@sha256:12", "lora_rank": 8, "encoder_px": None},
            ["encoder=FOLDER_OF_WEIGHTS/dinov2", "lora_rank=8"],
        ),
        ({}, []),  # of volumes alone
    ],
)
def test_after_a_pretraining_comes_a_training_that_can_begin_with_it(options, words, tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints/last.ckpt"
    about = {"class": "fund2oct.models.pretraining.photos.MaskedPhotos"}
    torch.save({"fund2oct": about, "state_dict": {}, "hyper_parameters": options}, path)
    _tell_where(tmp_path)
    following = capsys.readouterr().out.splitlines()[2]
    settings = [f"model.init_args.{word}" for word in [f"init_from={path}", *words]]
    assert following == f"Next: {shlex.join(['fund2oct', 'train', 'pix2vol', *settings])}"


def test_info_and_check_answer_programs(tiny_eyes, tmp_path, capsys):
    assert main(["info", str(tiny_eyes), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_eyes"], found["n_pairs"], found["counts"]["volume"]) == (24, 24, {"6x32x48": 24})
    assert main(["check", str(tiny_eyes), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"problems": [], "summary": found}
    (tmp_path / "bad.h5").write_text("hello")
    assert main(["check", str(tmp_path / "bad.h5"), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["summary"] is None and "bad.h5" in answer["problems"][0]


def test_predict_answers_programs(photo, tiny_checkpoint, tmp_path, capsys):
    command = ["predict", str(tiny_checkpoint), str(photo), str(tmp_path / "none.jpg")]
    assert main([*command, "--out", str(tmp_path / "out"), "--json", "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    good, bad = json.loads(printed.out)["photos"]
    assert good["key"] == "eye" and good["problem"] == "" and str(tmp_path / "out/eye.h5") in good["files"]
    assert bad["files"] == [] and "none.jpg" in bad["problem"] and "none.jpg" in printed.err


def test_a_device_that_is_not_there_is_a_line(photo, tiny_checkpoint, tmp_path, capsys):
    predict = ["predict", str(tiny_checkpoint), str(photo), "--out", str(tmp_path / "out")]
    train = ["train", "pix2vol", "--out", str(tmp_path / "run")]
    for command in (predict, train):
        assert main([*command, "--device", "cuda:77"]) == 1
        assert "device 'cuda:77': cannot be used" in capsys.readouterr().err
        assert main([*command, "--device", "mps"]) == 1
        assert "device 'mps': has no 64-bit numbers, which measures need; take cpu" in capsys.readouterr().err


def test_predictions_may_be_without_pictures(photo, tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["predict", str(tiny_checkpoint), str(photo), "--out", str(out), "--figure-format", "none"]
    assert main(command) == 0
    assert list(out.glob("*.h5")) and not list(out.glob("*.png"))
    assert main([*command, "--figure-format", "svg"]) == 1
    assert "--figure-format: expected none alone, or formats, found none and svg" in capsys.readouterr().err


def test_predict_takes_folders_and_goes_on(photo, tiny_checkpoint, tmp_path, capsys, monkeypatch):
    for name in ("anna/OD.png", "ben/OD.png", "ben/OS.png", "ben/._OS.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo.read_bytes())
    out = tmp_path / "ben/out"
    given = [str(tmp_path / "anna"), str(tmp_path / "b*/*.png"), str(tmp_path / "ben"), "--out", str(out)]
    command = ["predict", str(tiny_checkpoint), *given, "--figure-format", "none"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "3 of 3 photos translated" in printed and f"{tmp_path}/ben/OD.png is ben-OD" in printed
    assert sorted(path.name for path in out.glob("*.h5")) == ["OS.h5", "anna-OD.h5", "ben-OD.h5"]
    volumes = {}
    for name in ("anna-OD", "ben-OD"):
        with EyeReader(out / f"{name}.h5") as reader:
            volumes[name] = reader.read(name).volume
    # One photo under one file name: the noise is that of the name, whatever it is called afterwards.
    assert np.array_equal(volumes["anna-OD"], volumes["ben-OD"])

    (out / "OS.h5").unlink()
    assert main(command) == 1
    assert "exist" in capsys.readouterr().err
    for path in out.glob("OS.*"):
        path.unlink()
    assert main([*command, "--skip-done"]) == 0
    assert "3 of 3 photos translated" in (printed := capsys.readouterr().out)
    assert "2 of them by an earlier call" in printed and (out / "OS.h5").is_file()


def test_results_of_earlier_calls_are_no_photos(photo, tiny_checkpoint, tiny_eyes, tmp_path, capsys):
    shutil.copy(photo, tmp_path)
    first, again = ["predict", str(tiny_checkpoint), str(tmp_path), "--out"], str(tmp_path / "out2")
    assert main([*first, str(tmp_path / "out"), "--format", "tiff", "--format", "png"]) == 0
    assert main(["info", str(tiny_eyes), "--out", str(tmp_path / "sheet.png")]) == 0
    made = [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".tif", ".tiff")]
    assert len(made) > 5
    assert main([*first, again]) == 0
    assert "1 of 1 photos translated" in capsys.readouterr().out
    assert main(["predict", str(tiny_checkpoint), str(tmp_path / "out"), "--out", again]) == 1
    assert "no photo (.jpg" in capsys.readouterr().err
    named = ["predict", str(tiny_checkpoint), str(tmp_path / "out/eye.thickness.png"), "--out"]
    assert main([*named, str(tmp_path / "out3")]) == 1
    assert "eye.thickness.png: is a picture that fund2oct made, expected a photo" in capsys.readouterr().err


class Elsewhere(Here):
    """Does what another process would do, with copies of all that it is given and gives back."""

    def submit(self, fn, /, *args, **kwargs):
        fn, args = pickle.loads(pickle.dumps((fn, args)))
        future = Future()
        future.set_result(pickle.loads(pickle.dumps(fn(*args, **kwargs))))
        return future


def test_photos_are_prepared_ahead_to_the_same_end(photo, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / f"photos/eye{number}.png").write_bytes(photo.read_bytes())
    command = ["predict", str(tiny_checkpoint), str(tmp_path / "photos"), "--figure-format", "none", "--out"]
    assert main([*command, str(tmp_path / "here")]) == 0
    started = []
    monkeypatch.setattr("fund2oct.run.predicting.predict._WORTH_A_PROCESS", 1)
    monkeypatch.setattr(
        "fund2oct.run.predicting.predict.process_pool",
        lambda n: started.append(n) or nullcontext(Elsewhere()),
    )
    assert main([*command, str(tmp_path / "there"), "--workers", "3"]) == 0
    assert started == [3]
    for number in range(2):
        name = f"eye{number}.h5"
        with EyeReader(tmp_path / "here" / name) as here, EyeReader(tmp_path / "there" / name) as there:
            assert np.array_equal(here.read(name[:4]).volume, there.read(name[:4]).volume)


def test_a_photo_has_all_of_its_files_or_none(photo, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fund2oct.run.predicting.results.export_eye", interrupted)
    command = ["predict", str(tiny_checkpoint), str(photo), "--out", str(tmp_path / "out")]
    assert main(command) == 130
    assert capsys.readouterr().err == (
        "fund2oct: interrupted; what is finished stays; give it again with --skip-done to go on\n"
    )
    assert list((tmp_path / "out").iterdir()) == []


def completion(shell):
    pytest.importorskip("shtab")
    command = [sys.executable, "-m", "fund2oct", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_bash_completes_commands_experiments_options_and_files(tmp_path):
    (tmp_path / "photos").mkdir()
    calls = {
        ("tr",): "train", ("train", "pix"): "pix2vol", ("export", "a.h5", "--format", "nif"): "nifti",
        ("predict", "pho"): "photos", ("publish", "pho"): "photos",
        ("predict", "--checkpoint", "pho"): "photos",
    }  # fmt: skip
    asked = "\n".join(
        f"COMP_WORDS=(fund2oct {' '.join(words)}); COMP_CWORD={len(words)}; _shtab_fund2oct; "
        'echo "${COMPREPLY[*]}"'
        for words in calls
    )
    script = f"{completion('bash')}\n{asked}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == list(calls.values())


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here: apt-get install zsh")
def test_zsh_takes_the_script_and_offers_commands_and_experiments(tmp_path):
    # zsh keeps what is offered to itself: what would show it prints it instead.
    script = """
        autoload -Uz compinit; compinit -u -D; eval "$(cat)"; print -r -- $_comps[fund2oct]
        _describe() { print -rl -- "${(@P)argv[-1]}" }
        _alternative() { print -r -- $1 }
        _shtab_fund2oct_commands; _fund2oct_experiments
    """
    done = subprocess.run(
        ["zsh", "-fc", script], input=completion("zsh"), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    bound, *commands, experiments = done.stdout.splitlines()
    assert bound == "_shtab_fund2oct" and "train:Train an experiment and report on it." in commands
    assert "pix2vol" in experiments.partition("(")[2]
