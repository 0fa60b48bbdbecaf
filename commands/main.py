"""The `lumiere` command: which subcommands there are, and how an error ends one."""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from pathlib import Path

from . import batch, evaluate, export, generate, inflate, info, run, stills, train, train_style
from .signals import Ended, heard_signals
from .streams import lasting_streams, plain

LONGEST_LINE = 1200  # characters
INTERNAL_ERROR, BAD_INPUT, INTERRUPTED = 1, 2, 130
COMMANDS = (generate, batch, run, info, evaluate, train, train_style, stills, inflate, export)
# What to install for a module that is missing: our dependencies, of which some go by another name.
PACKAGES = {"cv2": "opencv-python", "PIL": "pillow"} | {
    name: name for name in "torch einops safetensors numpy av transformers tqdm psutil accelerate tomli ray".split()
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; an error is one line on stderr.

    Exit codes: 2 bad input, 1 a fault of ours, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
    """
    with heard_signals(), lasting_streams() as output, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
        debug = False
        try:
            options = _parser().parse_args(arguments)
            debug = options.debug
            options.run(options)
            output.require_written()
        except (ValueError, OSError) as error:
            _say(f"error: {error}")
            return BAD_INPUT
        except Ended as ended:
            _say(f"ended by {ended}")
            return ended.exit_code
        except KeyboardInterrupt:
            _say("interrupted")
            return INTERRUPTED
        except Exception as error:  # all that is left: a package is missing, or the fault is ours
            return _say_what_is_left(error, debug)
    return 0


def _say_what_is_left(error: Exception, debug: bool) -> int:
    remedy = _remedy(error)
    if remedy is not None:
        _say(f"error: {error}; this command needs it: {remedy}")
        return BAD_INPUT
    if debug:
        traceback.print_exc()
    where = "" if debug else "; run with --debug to see where: lumiere --debug COMMAND ..."
    _say(f"internal error: {type(error).__name__}: {error}{where}")
    return INTERNAL_ERROR


def _remedy(error: Exception) -> str | None:
    """How to install the module that an error misses; None where it misses none that a user could install."""
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"pip install {PACKAGES[module]}" if module in PACKAGES else None


class _Parser(argparse.ArgumentParser):
    """Errors as exceptions, for one line instead of usage and error. An empty path is one, and not this folder."""

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.register("type", Path, path)

    def error(self, message: str):
        raise ValueError(f"{message} (see {self.prog} --help)")


def path(text: str) -> Path:
    """What options of the type Path take."""
    if not text:
        raise argparse.ArgumentTypeError("a path is needed here; got an empty text")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lumiere", description="Lumiere: text to video with a space-time U-Net.")
    parser.add_argument("--debug", action="store_true", help="of errors that are not bad input, say where they arose")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        summary = module.SUMMARY
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.set_defaults(run=module.run)
        module.add_arguments(command)
    return parser


def _say(message: str) -> None:
    print(f"lumiere: {_short(plain(' '.join(message.split())))}", file=sys.stderr)


def _short(line: str) -> str:
    """Names and values in files may be of any length."""
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 4 :]}"
