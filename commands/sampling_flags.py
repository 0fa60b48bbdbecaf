"""The flags of the sampling options: derived from where they are declared, for the base network and for the SSR."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from ..lumiere_core.diffusion.options import KNOBS, Knob, SamplingOptions

BASE, SSR = "base", "ssr"
SHARED = ("fuse", "loop")  # one flag for both networks
SSR_ONLY = ("noise_level",)
# What is said of a network without its name. Windows and tiles belong to the SSR first, all else to the base.
PLAIN = {"window": SSR, "overlap": SSR, "noise_level": SSR, "tile": SSR, "tile_overlap": SSR}


class Flag(NamedTuple):
    """network: which it is for, None = both."""

    flag: str
    option: str
    network: str | None

    @property
    def name(self) -> str:
        return self.flag.strip("-").replace("-", "_")


def sampling_flags() -> Iterator[Flag]:
    """--steps, --ssr-steps, --window, --base-window, --fuse..."""
    for option in KNOBS:
        word = option.replace("_", "-")
        if option in SHARED:
            yield Flag(f"--{word}", option, None)
            continue
        for network in (SSR,) if option in SSR_ONLY else (BASE, SSR):
            plain = PLAIN.get(option, BASE) == network
            yield Flag(f"--{word}" if plain else f"--{network}-{word}", option, network)


def add_sampling_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("how the networks sample; what is not said is the checkpoint's own")
    for flag in sampling_flags():
        _add(group, flag, KNOBS[flag.option])


def _add(group, flag: Flag, knob: Knob) -> None:
    seen = "the base network" if flag.network == BASE else "the SSR"
    text = knob.help.format(network=seen)
    if flag.option not in (*SHARED, *SSR_ONLY):
        text += f" Of {seen}."
    if knob.kind is bool:
        group.add_argument(flag.flag, action="store_true", default=None, help=text)
    else:
        text += f" One of {', '.join(knob.choices)}." if knob.choices else ""
        group.add_argument(flag.flag, type=knob.kind, metavar=None if knob.choices else "N", help=text)


def read_sampling_options(options: argparse.Namespace) -> dict[str, SamplingOptions]:
    """The keywords base and ssr. Without super-resolution what is said of both is said of the base alone."""
    said: dict[str, dict] = {BASE: {}, SSR: {}}
    for flag in sampling_flags():
        networks = (flag.network,) if flag.network else (BASE, SSR) if options.super_resolution else (BASE,)
        for network in networks:
            said[network][flag.option] = getattr(options, flag.name)
    return {network: SamplingOptions(**values) for network, values in said.items()}
