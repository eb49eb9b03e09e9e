"""Every command, experiment and module that a page shows is one that there is."""

import argparse
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from doc_pages import OTHERS, OURS, PAGES, ROOT, blocks, commands, files
from public_names import PUBLIC

from fund2oct.cli import main
from fund2oct.data.masks.networks import draw_mask, load_mask_network
from fund2oct.run.config import load_experiment


class _Parsed(Exception):
    pass


@pytest.fixture
def parse(monkeypatch):
    """What a command is understood as, without running it."""
    parse_known_args = argparse.ArgumentParser.parse_known_args

    def stop(parser, words=None, namespace=None):
        found = parse_known_args(parser, words, namespace)
        if namespace is None:
            raise _Parsed(*found)
        return found

    def parse(words):
        monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
        with pytest.raises(_Parsed) as parsed:
            main(words)
        return parsed.value.args

    return parse


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_are_understood(page, parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in files(page).items():
        (tmp_path / name).write_text(text)
    for _, block in blocks(page, "bash"):
        for name, *words in commands(block):
            name = name.removeprefix(".venv/bin/")  # where make puts it
            assert name == OURS or name in OTHERS or name == "tensorboard", name
            if name == OURS:
                options, rest = parse(words)
                assert not [word for word in rest if word.startswith("-")], rest
                if words[0] == "train":
                    load_experiment(options.experiment, [*options.overrides, *rest])


def test_a_misspelt_option_or_key_is_found(parse):
    with pytest.raises(SystemExit):
        parse(["predict", "last.ckpt", "eye.jpg", "--uot", "here"])
    with pytest.raises(ValueError, match="did you mean trainer"):
        load_experiment("pix2vol", ["triner.max_epochs=3"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and not re.match(r"https?:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_network_of_the_page_on_masks_draws_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (code,) = [text for _, text in blocks(ROOT / "docs/howto/conditions.md", "python") if "nn.Module" in text]
    Path("my_vessels.py").write_text(code)
    photos = torch.rand(2, 3, 48, 48)
    photos[:, :, :, 20] = 0
    network = load_mask_network("my_vessels.DarkLines")
    masks = draw_mask(network, photos, "vessels")
    assert masks[..., 20].mean() > 0.9 > masks[..., 24:].mean()
    torch.jit.script(network).save("vessels.pt")
    assert torch.equal(draw_mask(load_mask_network("vessels.pt"), photos, "vessels"), masks)


GUIDES = [page for page in PAGES if page.name not in ("README.md", "index.md")]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_begins_with_what_its_reader_can_do_after_it(page):
    title, after = page.read_text("utf-8").split("\n\n")[:2]
    assert title.startswith("# ") and after.startswith("After this page you "), after


def documented():
    """Module and name of all that the reference shows, as often as it does."""
    for page in sorted((ROOT / "docs/reference").glob("*.rst")):
        for module, names in re.findall(
            r"^\.\. subject:: (\S+)\n((?:\n? {3}\w+\n)*)", page.read_text(), re.M
        ):
            loaded = importlib.import_module(module)
            for name in names.split() or getattr(loaded, "__all__", []):
                found = getattr(loaded, name)
                yield getattr(found, "__module__", module), name


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_the_reference_shows_each_public_name(module):
    assert sorted(PUBLIC[module] - {name for _, name in documented()}) == []


def test_the_reference_shows_nothing_twice():
    assert [name for name, number in Counter(documented()).items() if number > 1] == []
