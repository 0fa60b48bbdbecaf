"""The `lumiere` command: which subcommands there are, and how an error ends one."""

from __future__ import annotations

import argparse
import os
import sys
import warnings

from . import evaluate, generate, info, run, stills, train, train_style

BAD_INPUT, INTERRUPTED = 2, 130
COMMANDS = (generate, run, info, evaluate, train, train_style, stills)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; bad input is one line on stderr and exit code 2, Ctrl-C is exit code 130."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
        try:
            options = _parser().parse_args(arguments)
            options.run(options)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of our output, `head` for one, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (ValueError, OSError) as error:
            _say(f"error: {error}")
            return BAD_INPUT
        except ModuleNotFoundError as error:
            _say(f"error: {error}; this command needs it: pip install 'lumiere-video[train]'")
            return BAD_INPUT
        except KeyboardInterrupt:
            _say("interrupted")
            return INTERRUPTED
    return 0


class _Parser(argparse.ArgumentParser):
    """Errors as exceptions, for one line instead of usage and error."""

    def error(self, message: str):
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lumiere", description="Lumiere: text to video with a space-time U-Net.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        summary = module.SUMMARY
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.set_defaults(run=module.run)
        module.add_arguments(command)
    return parser


def _say(message: str) -> None:
    print(f"lumiere: {' '.join(message.split())}", file=sys.stderr)
