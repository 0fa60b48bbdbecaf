"""The `lumiere` command: argument parsing and calls. What it imports beyond that, it imports when it is asked for."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path

BAD_INPUT, INTERRUPTED = 2, 130


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


def generate(options: argparse.Namespace) -> None:
    from .lumiere_core.diagnostics import diagnostics_path, write_diagnostics
    from .lumiere_core.pipeline import LumierePipeline
    from .lumiere_core.progress import StageBars
    from .lumiere_core.video_io import check_output, write_video

    check_output(options.output)
    pipeline = _load_pipeline(LumierePipeline, options)
    names = ("negative", "seed", "frames", "size", "steps", "guidance", "sampler", "scheduler")
    names += ("ssr_steps", "window", "overlap", "fuse")
    with StageBars() as bars:
        clip = pipeline.generate(options.prompt, progress=bars, **{name: getattr(options, name) for name in names})
    write_video(options.output, clip.frames, clip.fps)
    if options.diagnostics:
        write_diagnostics(diagnostics_path(options.output), clip.frames, clip.fps)
    frames, height, width, _ = clip.frames.shape
    print(f"{options.output}: {frames} frames, {width} x {height}, {clip.fps:g} fps, seed {options.seed}")


def info(options: argparse.Namespace) -> None:
    from .lumiere_core.describe import describe_checkpoint

    print(describe_checkpoint(options.file))


def evaluate(options: argparse.Namespace) -> None:
    from .lumiere_core.evaluation.report import markdown_table, training_record
    from .lumiere_core.evaluation.run import evaluate
    from .lumiere_core.pipeline import LumierePipeline
    from .lumiere_core.progress import StageBars
    from .lumiere_core.training.release import record_evaluation
    from .lumiere_core.video_io import require_writable

    recorded = [file for file in (options.checkpoint, options.ssr_checkpoint) if file and options.record]
    for file in (options.output / "evaluation.json", *map(Path, recorded)):
        require_writable(file)
    pipeline = _load_pipeline(LumierePipeline, options)
    with StageBars() as bars:
        result = evaluate(
            pipeline,
            options.prompts,
            options.seed,
            options.output,
            partial(bars, "evaluate"),
            super_resolution_prompts=options.ssr_prompts,
        )
    for file in recorded:
        record_evaluation(file, training_record(result))
    print(markdown_table(result))


def train(options: argparse.Namespace) -> None:
    from .lumiere_core.bundled import find_recipe
    from .lumiere_core.training import load_recipe, release, train
    from .lumiere_core.video_io import require_writable

    recipe = load_recipe(find_recipe(options.recipe))
    folder = options.output or Path("runs") / recipe.name
    require_writable(folder / "state")
    files = train(
        recipe,
        folder,
        stages=options.stages,
        device=options.device,
        precision=options.precision,
        compile=options.compile,
        workers=options.workers,
    )
    if not options.stages:
        files += release(recipe, folder)
    print("\n".join(str(file) for file in files))


def run(options: argparse.Namespace) -> None:
    if find_spec("comfy_api") is not None:  # nodes would take ComfyUI for their host, which is not running
        raise ValueError(
            "run: ComfyUI is found from here (installed, or in this folder), and nodes would count on it. Queue the "
            "workflow in ComfyUI, or use an environment and a folder without it."
        )
    from .nodes.host.standalone.models import MEDIA, Settings
    from .nodes.host.standalone.run import list_settable, run_workflow

    settings = Settings(options.device, options.models, options.input or MEDIA, options.output)
    if options.list:
        print(list_settable(options.workflow, options.assignments, settings))
        return
    for file in run_workflow(options.workflow, options.assignments, settings):
        print(file)


def _load_pipeline(pipeline_class, options: argparse.Namespace):
    return pipeline_class.load(
        options.checkpoint,
        options.ssr_checkpoint,
        options.text_encoder,
        device=options.device,
        dtype=options.dtype,
        super_resolution=options.super_resolution,
    )


class _Parser(argparse.ArgumentParser):
    """Errors as exceptions, for one line instead of usage and error."""

    def error(self, message: str):
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lumiere", description="Lumiere: text to video with a space-time U-Net.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_generate, _add_run, _add_info, _add_evaluate, _add_train):
        add(commands)
    return parser


def _add_generate(commands) -> None:
    command = _command(commands, generate, "make a video from a prompt")
    option = command.add_argument
    option("prompt", metavar="PROMPT")
    option("--output", required=True, help=".mp4, .gif, .webp, or a folder of PNGs when it ends in a slash")
    option("--negative", default="", metavar="PROMPT", help="what guidance leads away from")
    option("--seed", type=int, default=0)
    option("--frames", type=int, help="any number from 1; default: what the checkpoint was trained on")
    option(
        "--size", type=_size, metavar="N|WxH", help="of the base video, in pixels; output is that times the SSR's scale"
    )
    option("--steps", type=int, help="sampler steps of the base network")
    option("--guidance", type=float, help="classifier-free guidance of the base network; 1 is none")
    option("--sampler", help="euler, euler_ancestral, heun, ddpm or dpmpp_2m")
    option("--scheduler", help="normal, simple, sgm_uniform or karras")
    option("--ssr-steps", type=int, help="sampler steps of the SSR")
    option("--window", type=int, help="frames that the SSR sees at once")
    option("--overlap", type=int, help="frames that neighbouring windows share, fused at every step")
    option("--fuse", default="flat", help="how windows are weighted: flat, pyramid or hann")
    option("--diagnostics", action="store_true", help="a PNG beside the video: contact sheet, X-T slice, differences")
    _add_pipeline_options(option)


def _add_run(commands) -> None:
    command = _command(commands, run, "run a ComfyUI workflow of this pack's nodes, without ComfyUI")
    option = command.add_argument
    option("workflow", metavar="WORKFLOW.json", type=Path, help="as the canvas saves it, or in the API format")
    option("--set", action="append", default=[], dest="assignments", metavar="NODE.INPUT=VALUE", help="may be repeated")
    option("--list", action="store_true", help="only say what can be set")
    option("--input", type=Path, metavar="DIR", help="where LoadImage and LoadVideo look; default: the pack's media")
    option("--output", type=Path, default=Path("output"), metavar="DIR", help="default: output")
    option("--models", type=Path, metavar="DIR", help="a folder searched for checkpoints before the bundled ones")
    option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, xpu")


def _add_info(commands) -> None:
    command = _command(commands, info, "say what a checkpoint file is")
    command.add_argument("file", metavar="FILE", type=Path)


def _add_evaluate(commands) -> None:
    command = _command(commands, evaluate, "measure how well videos show what prompts ask for")
    option = command.add_argument
    option("--prompts", type=int, default=256, help="number of prompts")
    option("--ssr-prompts", type=int, metavar="N", help="super-resolve only the first N clips; default: all")
    option("--seed", type=int, default=0)
    option("--output", type=Path, default=Path("evaluation"), metavar="DIR", help="folder for JSON and plots")
    option("--record", action="store_true", help="write the figures into the metadata of the given checkpoints")
    _add_pipeline_options(option)


def _add_train(commands) -> None:
    command = _command(commands, train, "train the stages of a recipe; started again, it goes on where it stopped")
    option = command.add_argument
    option("recipe", metavar="RECIPE", help="a TOML file, or the name of a bundled recipe: toy")
    option("--output", type=Path, metavar="DIR", help="folder for checkpoints and logs; default: runs/<recipe>")
    option("--stages", type=lambda text: text.split(","), metavar="A,B", help="only these stages")
    option("--device", help="cpu, cuda...; default: an accelerator where there is one")
    option("--precision", choices=("bf16", "no"), default="bf16", help="of autocast")
    option("--compile", action="store_true", help="compile the network (needs a C++ compiler on CPUs)")
    option("--workers", type=int, default=0, help="processes that make batches")


def _command(commands, run, summary: str) -> argparse.ArgumentParser:
    command = commands.add_parser(run.__name__, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    command.set_defaults(run=run)
    return command


def _add_pipeline_options(option) -> None:
    option("--no-ssr", dest="super_resolution", action="store_false", help="stop after the base network")
    option("--checkpoint", metavar="FILE", help="base network; default: the bundled one")
    option("--ssr-checkpoint", metavar="FILE", help="super-resolution network; default: the bundled one")
    option("--text-encoder", metavar="PATH", help="file or T5 folder; default: what the checkpoints name")
    option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, xpu")
    option("--dtype", default="auto", help="auto, float32, bfloat16 or float16")


def _size(text: str) -> tuple[int, int]:
    """ "48" or "64x48", width first as video sizes are written -> (height, width)."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.strip().lstrip("-").isdigit() for side in sides):
        raise argparse.ArgumentTypeError(f"a size is a number, or width x height such as 64x48; got {text!r}")
    return int(sides[-1]), int(sides[0])


def _say(message: str) -> None:
    print(f"lumiere: {' '.join(message.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
