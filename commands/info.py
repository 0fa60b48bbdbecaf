"""`lumiere info`: say what a checkpoint file is."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "say what a checkpoint file is"


def run(options: argparse.Namespace) -> None:
    from ..lumiere_core.checkpoints.summary import describe_checkpoint

    print(describe_checkpoint(options.file))


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", type=Path)
