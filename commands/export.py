"""`lumiere export`: the spatial half of a network, as diffusers saves U-Nets."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "write the spatial half of a network as diffusers saves U-Nets"


def run(options: argparse.Namespace) -> None:
    from ..lumiere_core.checkpoints.exporting import export_unet

    for file in export_unet(options.file, options.output):
        print(file)


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option("file", metavar="FILE", type=Path, help="a checkpoint of this pack")
    option("-o", "--output", required=True, type=Path, metavar="FOLDER", help="the U-Net's folder, such as IF/unet")
