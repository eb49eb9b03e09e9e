"""``fund2oct simulate`` and ``check``: files of eyes."""

from __future__ import annotations

import argparse
import os

from fund2oct.cli.options import Commands, add_overwrite


def add_commands(commands: Commands) -> None:
    """Add the commands of this page to the parser."""
    simulate = commands.add_parser("simulate", help="make a file of simulated eyes")
    simulate.add_argument("out", metavar="OUT.h5")
    simulate.add_argument("--eyes", type=int, default=600)
    simulate.add_argument("--seed", type=int, default=0)
    simulate.add_argument("--shape", type=int, nargs=2, default=(80, 112), metavar=("Z", "X"))
    simulate.add_argument("--fundus-px", type=int, default=128)
    simulate.add_argument("--diagnosis", default=None, help="of every eye, as in drusen+SRF")
    simulate.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    add_overwrite(simulate)
    simulate.set_defaults(command=_simulate)

    check = commands.add_parser("check", help="say what is wrong with a file, eye by eye")
    check.add_argument("file", metavar="FILE.h5")
    check.set_defaults(command=_check)


def _simulate(options: argparse.Namespace) -> int:
    from fund2oct.data.simulate import simulate_file
    from fund2oct.phantom import PhantomConfig

    n_depth, n_ascans = options.shape
    config = PhantomConfig(
        fundus_px=options.fundus_px, n_depth=n_depth, n_ascans=n_ascans, diagnosis=options.diagnosis
    )
    simulate_file(options.out, options.eyes, options.seed, config, options.workers, options.overwrite)
    return 0


def _check(options: argparse.Namespace) -> int:
    from fund2oct.data.check import check_file, summarise_file

    problems = check_file(options.file)
    print("\n".join([*summarise_file(options.file), *problems, f"{len(problems)} problems"]))
    return 1 if problems else 0
