"""``fund2oct completion``: the script by which a shell completes commands, options and file names."""

from __future__ import annotations

import argparse
import re

from fund2oct.cli.commands import Commands, add_command, leaves

_FILE = re.compile(r"FILE|CHECKPOINT|MODEL|(\[MODEL\] )?PHOTO|RUN|SRC|A|B|(?!MODULE).+\.\w+")
"""Words that stand for a file, or a folder of files, in a call."""
_SHELLS = ("bash", "zsh")
_EXPERIMENTS = {
    "bash": '_fund2oct_experiments() { compgen -W "NAMES" -- "$1"; compgen -f -- "$1"; }',
    "zsh": "_fund2oct_experiments() { _alternative 'names:experiment:(NAMES)' 'files:file:_files'; }",
}


def add_commands(commands: Commands) -> None:
    """Add the command of this page to the parser."""
    completion = add_command(
        commands,
        "completion",
        "print the script that completes commands in a shell",
        'eval "$(fund2oct completion bash)"                       # in ~/.bashrc\n'
        "fund2oct completion zsh > ~/.zsh/completions/_fund2oct   # in a folder of $fpath",
        about="It needs shtab: pip install 'fund2oct[completion]'.",
    )
    completion.add_argument("shell", choices=_SHELLS, help="bash or zsh")
    completion.set_defaults(command=_completion)


def _completion(options: argparse.Namespace) -> int:
    try:
        import shtab
    except ModuleNotFoundError:
        raise ImportError('completion needs shtab: pip install "fund2oct[completion]"') from None
    from fund2oct.cli.main import build_parser
    from fund2oct.run.config import experiments

    parser = build_parser()
    for command in leaves(parser):
        for action in command._actions:
            name = action.metavar if isinstance(action.metavar, str) else ""
            if name == "EXP":
                action.complete = dict.fromkeys(_SHELLS, "_fund2oct_experiments")  # type: ignore[attr-defined]
            elif name == "DIR":
                action.complete = shtab.DIR  # type: ignore[attr-defined]
            elif _FILE.fullmatch(name):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    names = " ".join(sorted(set(experiments()) - {"base"}))
    preamble = _EXPERIMENTS[options.shell].replace("NAMES", names)
    print(shtab.complete(parser, options.shell, preamble=preamble))
    return 0
