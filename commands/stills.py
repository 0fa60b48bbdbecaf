"""`lumiere stills`: draw captioned pictures of the world in a look, for train-style."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_cast_option, add_seed_option

SUMMARY = "draw captioned pictures of the world in a look, for train-style"


def run(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..lumiere_core.runtime.outputs import require_writable
    from ..world.cast import drawn_shapes, load_cast
    from ..world.looks import write_stills

    require_writable(options.folder)
    cast = load_cast(options.cast) if options.cast else drawn_shapes()
    with tqdm(total=options.count, desc="stills", dynamic_ncols=True) as bar:
        write_stills(options.folder, cast, options.look, options.count, options.size, options.seed, bar.update)
    print(options.folder)


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option("folder", metavar="FOLDER", type=Path, help="where pictures and captions go")
    option("--look", default="plain", help="plain, line_drawing or watercolor")
    option("--count", type=int, default=1000, help="number of pictures; default: 1000")
    option("--size", type=int, default=64, help="side in pixels; default: 64")
    add_seed_option(option)
    add_cast_option(option)
