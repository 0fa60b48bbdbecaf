"""`lumiere generate`: make a video from a prompt."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .options import add_pipeline_options, add_seed_option, load_pipeline
from .sampling_flags import add_sampling_options, read_sampling_options

if TYPE_CHECKING:
    from ..lumiere_core.pipeline import Clip, LumierePipeline, Start
    from ..lumiere_core.runtime.ranks import Ranks
    from .given_files import Wanted

SUMMARY = "make a video from a prompt"
SIDE = r"\s*-?[0-9]{1,18}\s*"  # digits that Python's int reads, too; a negative size is refused by what makes the clip
SIZE = re.compile(f"{SIDE}([xX]{SIDE})?")


def run(options: argparse.Namespace) -> None:
    from ..lumiere_core.runtime.modules import require_modules
    from ..lumiere_core.runtime.ranks import joined
    from ..lumiere_core.video.files import check_output

    with joined(options.device) as ranks:
        check_output(options.output, options.transparent)
        if options.diagnostics:
            require_modules("cv2", "PIL")
        if options.alpha is not None and options.style is None:
            raise ValueError("alpha says how much of a style; give one with --style.")
        clip = _generate(options, ranks)
        if ranks.is_first:
            _write(clip, options)


def _generate(options: argparse.Namespace, ranks: Ranks) -> Clip:
    from ..lumiere_core.checkpoints.bundled import find_style
    from ..lumiere_core.runtime.progress import StageBars
    from ..lumiere_core.style import DEFAULT_ALPHA, load_style

    pipeline = load_pipeline(options, str(ranks.device))
    if options.style is not None:
        style = load_style(find_style(options.style))
        pipeline = pipeline.stylized(style, DEFAULT_ALPHA if options.alpha is None else options.alpha)
    values = {name: getattr(options, name) for name in ("negative", "seed", "frames", "size")}
    values |= read_sampling_options(options) | _read_inputs(options, pipeline)
    with StageBars() as bars:
        progress = bars if ranks.is_first else None
        return pipeline.generate(options.prompt, progress=progress, share=ranks.share, **values)


def _write(clip: Clip, options: argparse.Namespace) -> None:
    from ..lumiere_core.video.diagnostics import diagnostics_path, write_diagnostics
    from ..lumiere_core.video.files import write_video
    from ..lumiere_core.video.transparency import key_out

    write_video(options.output, key_out(clip.frames) if options.transparent else clip.frames, clip.fps)
    if options.diagnostics:
        write_diagnostics(diagnostics_path(options.output), clip.frames, clip.fps)
    frames, height, width, _ = clip.frames.shape
    print(f"{options.output}: {frames} frames, {width} x {height}, {clip.fps:g} fps, seed {options.seed}")


def _read_inputs(options: argparse.Namespace, pipeline: LumierePipeline) -> dict:
    """The images and videos that are given to `generate`."""
    from .given_files import Wanted, read_given

    info = pipeline.base.info
    height, width = options.size or (info.size, info.size)
    scale = pipeline.ssr.info.scale if pipeline.ssr else 1
    wanted = Wanted(info.fps, info.frames, (height * scale, width * scale), options.frames)
    names = ("image", "keyframes", "extend", "inpaint", "region", "mask", "fit", "last", "grow", "feather")
    said = {name: getattr(options, name) for name in names}
    start = _read_start(options, replace(wanted, size=(height, width)))
    if start is not None:
        said["fit"] = None  # it is of the start
        for name in ("mask", "last", "grow", "feather"):
            if said[name] is not None:
                raise ValueError(f"{name} has no effect on an input video; leave it out.")
    return {"given": read_given(wanted, **said), "start": start}


def _read_start(options: argparse.Namespace, wanted: Wanted) -> Start | None:
    from ..lumiere_core.pipeline import DEFAULT_STRENGTH, Start

    if options.input_video is None:
        if options.strength is not None:
            raise ValueError("strength says how much of an input video is made anew; got no video.")
        return None
    strength = DEFAULT_STRENGTH if options.strength is None else options.strength
    fit = "crop" if options.fit is None else options.fit
    return Start(wanted.read_asked(options.input_video), strength, fit)


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option("prompt", metavar="PROMPT")
    option("--output", required=True, help=".mp4, .gif, .webp, or a folder of PNGs when it ends in a slash")
    add_clip_options(option)
    add_sampling_options(command)
    _add_given_options(command)
    option(
        "--style",
        type=Path,
        metavar="FILE",
        help="a style file, or a bundled style: toy-line-drawing, toy-watercolor",
    )
    option("--alpha", type=float, metavar="X", help="how much of the style, 0 to 1; default: 0.5")
    option(
        "--transparent",
        action="store_true",
        help="leave out the background, which must be plain; for .webp and folders of PNGs",
    )
    option("--diagnostics", action="store_true", help="a PNG beside the video: contact sheet, X-T slice, differences")
    add_pipeline_options(option)


def add_clip_options(option) -> None:
    option("--negative", default="", metavar="PROMPT", help="what guidance leads away from")
    add_seed_option(option, "0 to 2^64 - 1, of which the low 32 bits count, as in ComfyUI; default: 0")
    option("--frames", type=int, help="any number from 1; default: what the checkpoint was trained on")
    option(
        "--size", type=_size, metavar="N|WxH", help="of the base video, in pixels; output is that times the SSR's scale"
    )


def _add_given_options(command: argparse.ArgumentParser) -> None:
    option = command.add_argument_group("what is given of the video (one of the first six)").add_argument
    option("--image", type=Path, metavar="FILE", help="the first frame")
    option(
        "--keyframe",
        type=_keyframe,
        action="append",
        default=[],
        dest="keyframes",
        metavar="FILE@INDEX",
        help="an image and which frame it is, such as end.png@-1 for the last; may be repeated",
    )
    option("--extend", type=Path, metavar="VIDEO", help="a video to go on with")
    option("--inpaint", type=Path, metavar="VIDEO", help="a video of which what the mask shows is made anew")
    option("--region", type=Path, metavar="FILE", help="an image of which only what the mask shows moves")
    option("--input-video", type=Path, metavar="VIDEO", help="a video to make something else of, with its motion")
    option("--strength", type=float, help="how much of the input video is made anew, 0 to 1; default: 0.6")
    option("--mask", type=Path, metavar="FILE", help="image or video; white is generated, black is kept")
    option("--fit", help="how images and videos of another shape are made to fit: crop, pad or stretch; default: crop")
    option("--last", type=int, metavar="N", help="how many of the video's last frames to go on from; default: all")
    option("--grow", type=int, metavar="N", help="pixels of the base video by which the mask is widened")
    option("--feather", type=int, metavar="N", help="pixels over which it then fades")


def _keyframe(text: str) -> tuple[int, Path]:
    """ "end.png@-1" -> (-1, end.png)."""
    file, _, index = text.rpartition("@")
    try:
        if file:
            return int(index), Path(file)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"a keyframe is FILE@INDEX such as end.png@-1; got {text!r}")


def _size(text: str) -> tuple[int, int]:
    """ "48" or "64x48", width first as video sizes are written -> (height, width)."""
    if not SIZE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"a size is a number, or width x height such as 64x48; got {text!r}")
    sides = text.lower().split("x")
    return int(sides[-1]), int(sides[0])
