"""Task: bundled styles, blended into the base network as much as alpha says, against the same clips without.

All measures are our choice: unpublished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...lumiere_core.checkpoints import bundled
from ...lumiere_core.style import load_style, stylize
from ...world.cast import Cast
from .runs import plan_same
from .task import JudgedClip, Material, Run, Task, mean_of

if TYPE_CHECKING:
    from ...lumiere_core.pipeline import LumierePipeline

STYLES = tuple(Path(file).stem for file in bundled.STYLES)
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
PATCH = 3  # pixels, the side of the patches whose statistics are a clip's style


class Blend(NamedTuple):
    """A style's name, and how much of it."""

    style: str
    alpha: float


def plan(cast: Cast, count: int, seed: int) -> list[Run]:
    """At least `count` runs: each prompt in one style, the styles in turn, at each of ALPHAS.

    Raises ValueError where a style's file is not bundled.
    """
    for name in STYLES:
        style_file(name)
    runs = plan_same(cast, ceil(count / len(ALPHAS)), seed)
    return [
        run._replace(variant=f"{name}, alpha {alpha:g}", truth=None, setting=Blend(name, alpha))
        for i, name in enumerate(STYLES)
        for alpha in ALPHAS
        for run in runs[i :: len(STYLES)]
    ]


def style_file(name: str) -> Path:
    """The path of a bundled style. Raises ValueError where the installation lacks it."""
    return bundled.bundled_weights(f"{name}.safetensors")


def prepare(pipeline: LumierePipeline, run: Run) -> LumierePipeline:
    return restyle(pipeline, *run.setting)


def restyle(pipeline: LumierePipeline, name: str, alpha: float) -> LumierePipeline:
    """The pipeline with a bundled style's weights blended into its base network, as much as alpha says."""
    network = stylize(pipeline.base.network, load_style(style_file(name)), alpha)
    return type(pipeline)(replace(pipeline.base, network=network), None, pipeline.device, pipeline.dtype)


def judge(run: Run, material: Material, made: JudgedClip) -> dict:
    return {"style_distance": patch_statistics(made.frames), "motion": made.shows(run)["motion"]}


def patch_statistics(frames: np.ndarray) -> np.ndarray:
    """The mean product of each two values of a PATCH x PATCH patch of pixels, over a clip's patches: (27, 27).

    A Gram matrix as in Gatys et al. 2016 (doi:10.1109/CVPR.2016.265), of the pixels instead of a network's features.
    """
    patches = np.lib.stride_tricks.sliding_window_view(frames, (PATCH, PATCH), axis=(1, 2))  # (T, h, w, 3, 3, 3)
    values = patches.reshape(-1, 3 * PATCH**2).astype(np.float64)
    return values.T @ values / len(values)


def compare_with_alpha_0(runs: Sequence[Run], found: Sequence[dict]) -> list[dict]:
    """style_distance: the root mean square difference of a clip's patch statistics to those of its alpha 0."""
    pairs = list(zip(runs, found, strict=True))
    original = {run.index: clip["style_distance"] for run, clip in pairs if run.setting.alpha == 0}
    return [
        clip | {"style_distance": float(np.sqrt(np.square(clip["style_distance"] - original[run.index]).mean()))}
        for run, clip in pairs
    ]


def trend(runs: Sequence[Run], found: Sequence[dict]) -> dict:
    """By style, and for all: per alpha the mean style distance and the share of right motions.

    rises: whether the distance rises from each alpha to the next. motion_change: of the share, from alpha 0 to 0.5.
    """
    pairs = [(run.setting, clip) for run, clip in zip(runs, found, strict=True)]
    styles = dict.fromkeys(blend.style for blend, _ in pairs)
    by_style = {name: [pair for pair in pairs if pair[0].style == name] for name in styles}
    return {name: alpha_trend(of_style) for name, of_style in (*by_style.items(), ("all", pairs))}


def alpha_trend(pairs: Sequence[tuple[Blend, dict]]) -> dict:
    alphas = sorted({blend.alpha for blend, _ in pairs})
    groups = [[clip for blend, clip in pairs if blend.alpha == alpha] for alpha in alphas]
    distances, motions = ([mean_of(group, name) for group in groups] for name in ("style_distance", "motion"))
    return {
        "alpha": alphas,
        "style_distance": distances,
        "motion": motions,
        "rises": bool((np.diff(distances) > 0).all()),
        "motion_change": motions[alphas.index(0.5)] - motions[alphas.index(0.0)],
    }


def sentences(trend: dict) -> list[str]:
    return [
        f"{name}: the style distance {'rises' if of_style['rises'] else 'does not rise'} with alpha throughout; "
        f"motion at alpha 0.5 differs by {100 * of_style['motion_change']:+.1f} points from alpha 0."
        for name, of_style in trend.items()
    ]


TASK = Task(
    name="style",
    plan=plan,
    judge=judge,
    targets={},
    prepare=prepare,
    relate=compare_with_alpha_0,
    trend=trend,
    sentences=sentences,
)
