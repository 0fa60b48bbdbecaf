"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import re
from pathlib import Path


def add_pipeline_options(option) -> None:
    option("--no-ssr", dest="super_resolution", action="store_false", help="stop after the base network")
    option("--checkpoint", type=Path, metavar="FILE", help="base network; default: the bundled one")
    option("--ssr-checkpoint", type=Path, metavar="FILE", help="super-resolution network; default: the bundled one")
    option("--text-encoder", type=Path, metavar="PATH", help="file or T5 folder; default: what the checkpoints name")
    option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, xpu")
    option("--dtype", default="auto", help="auto, float32, bfloat16 or float16")


def load_pipeline(options: argparse.Namespace, device: str):
    from ..lumiere_core.pipeline import LumierePipeline

    return LumierePipeline.load(
        options.checkpoint,
        options.ssr_checkpoint,
        options.text_encoder,
        device=device,
        dtype=options.dtype,
        super_resolution=options.super_resolution,
    )


def add_seed_option(option, help: str = "0 to 2^64 - 1; default: 0") -> None:
    option("--seed", type=_seed, default=0, metavar="N", help=help)


def _seed(text: str) -> int:
    from ..lumiere_core.diffusion.noise import LARGEST_SEED

    if not re.fullmatch("[0-9]{1,20}", text) or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 to {LARGEST_SEED}; got {text!r}")
    return int(text)


def add_cast_option(option) -> None:
    option("--cast", type=Path, metavar="DIR", help="cut-out pictures and a table of names; default: drawn shapes")


def add_training_options(option) -> None:
    option("--device", help="cpu, cuda...; default: an accelerator where there is one")
    option("--precision", choices=("auto", "bf16", "no"), default="auto", help="of autocast; auto: bf16 but on CPUs")
    option("--compile", action="store_true", help="compile the network (needs a C++ compiler on CPUs)")
