"""`lumiere inflate`: make a video network of a still one."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_seed_option

SUMMARY = "make a video network of a text-to-image network on disk: its weights, and temporal layers yet to be trained"


def run(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..lumiere_core.checkpoints.inflating import (
        Inflation,
        describe_plan,
        open_still,
        plan_inflation,
        write_inflated,
    )
    from ..lumiere_core.runtime.outputs import require_file

    if options.output.suffix != ".safetensors":
        raise ValueError(f"{options.output}: checkpoints are written as .safetensors; give such a name.")
    require_file(options.output)
    inflation = Inflation(options.halve, options.attention_levels, options.attention_blocks, options.conditional)
    plan = plan_inflation(open_still(options.source, options.variant), inflation, _dtype(options.dtype))
    print(describe_plan(plan))
    if options.dry_run:
        return
    with tqdm(total=plan.size, desc="inflate", unit="B", unit_scale=True, dynamic_ncols=True) as bar:
        write_inflated(plan, options.output, options.seed, bar.update)
    print(options.output)


def _dtype(name: str | None):
    from ..lumiere_core.runtime.devices import DTYPES

    if name is not None and name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {name!r}.")
    return name and DTYPES[name]


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option(
        "source",
        metavar="SRC",
        type=Path,
        help="a DeepFloyd IF U-Net as diffusers saves it (its folder, its pipeline's folder, or a file), or a still "
        "checkpoint of this pack",
    )
    option("-o", "--output", required=True, type=Path, metavar="OUT.safetensors", help="the video network")
    option(
        "--variant",
        metavar="NAME",
        help="which of several sets of weights in SRC, such as fp16; default: the plain one",
    )
    option(
        "--halve",
        type=int,
        metavar="N",
        help="at how many of the spatial resizes, from the finest on, frames are halved too; default: at all, of a "
        "super-resolution network at none",
    )
    option(
        "--attention-levels",
        type=int,
        default=1,
        metavar="N",
        help="how many of the coarsest levels get temporal attention instead of convolutions; default: 1",
    )
    option(
        "--attention-blocks",
        type=int,
        default=2,
        metavar="N",
        help="how many blocks of it, one after another; default: 2",
    )
    option(
        "--conditional", action="store_true", help="take <J, C, M>, 7 channels: for images and videos that are given"
    )
    option("--dtype", metavar="NAME", help="float32, bfloat16 or float16, to store; default: as in SRC")
    add_seed_option(option, "of the layers that start at random; default: 0")
    option("--dry-run", action="store_true", help="only print the plan, with the numbers of parameters")
