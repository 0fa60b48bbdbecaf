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
    from .lumiere_core.bundled import find_style
    from .lumiere_core.diagnostics import diagnostics_path, write_diagnostics
    from .lumiere_core.pipeline import LumierePipeline
    from .lumiere_core.progress import StageBars
    from .lumiere_core.style import DEFAULT_ALPHA, load_style
    from .lumiere_core.transparency import key_out
    from .lumiere_core.video_io import check_output, write_video

    check_output(options.output, options.transparent)
    if options.alpha is not None and options.style is None:
        raise ValueError("alpha says how much of a style; give one with --style.")
    pipeline = _load_pipeline(LumierePipeline, options)
    if options.style is not None:
        style = load_style(find_style(options.style))
        pipeline = pipeline.stylized(style, DEFAULT_ALPHA if options.alpha is None else options.alpha)
    names = ("negative", "seed", "frames", "size", "steps", "guidance", "sampler", "scheduler")
    names += ("ssr_steps", "window", "overlap", "fuse", "base_window", "base_overlap", "loop", "strength")
    values = {name: getattr(options, name) for name in names} | _read_inputs(options, pipeline.base.info.fps)
    with StageBars() as bars:
        clip = pipeline.generate(options.prompt, progress=bars, **values)
    write_video(options.output, key_out(clip.frames) if options.transparent else clip.frames, clip.fps)
    if options.diagnostics:
        write_diagnostics(diagnostics_path(options.output), clip.frames, clip.fps)
    frames, height, width, _ = clip.frames.shape
    print(f"{options.output}: {frames} frames, {width} x {height}, {clip.fps:g} fps, seed {options.seed}")


def info(options: argparse.Namespace) -> None:
    from .lumiere_core.describe import describe_checkpoint

    print(describe_checkpoint(options.file))


def evaluate(options: argparse.Namespace) -> None:
    from .lumiere_core.evaluation.applications import TEXT, check_tasks
    from .lumiere_core.pipeline import LumierePipeline
    from .lumiere_core.video_io import require_writable

    check_tasks(options.tasks, options.runs, options.seed)
    for file in (options.output / "evaluation.json", *map(Path, _recorded(options))):
        require_writable(file)
    options.super_resolution &= TEXT in options.tasks
    pipeline = _load_pipeline(LumierePipeline, options)
    if options.steps is not None:
        pipeline = pipeline.with_steps(options.steps)
    cast = _load_cast(options, pipeline.base.info)
    for task in options.tasks:  # what is finished stays, should a later one be interrupted
        if task == TEXT:
            print(_evaluate_text(pipeline, cast, options))
        else:
            print(_evaluate_task(pipeline, cast, task, options))


def _load_cast(options: argparse.Namespace, info):
    """The things that a checkpoint was trained to draw: the given folder's, or the drawn shapes."""
    from .lumiere_core.world.cast import drawn_shapes, load_cast, named_table

    shapes, name = drawn_shapes(), info.training.get("cast", {}).get("name")
    if options.cast:
        return load_cast(options.cast, name and named_table(name))
    if name not in (None, shapes.name):
        raise ValueError(f"the checkpoint draws {name}; give the folder of their pictures (--cast DIR).")
    return shapes


def _evaluate_text(pipeline, cast, options: argparse.Namespace) -> str:
    from .lumiere_core.evaluation.report import markdown_table, training_record
    from .lumiere_core.evaluation.run import DEFAULT_PROMPTS, evaluate
    from .lumiere_core.progress import StageBars
    from .lumiere_core.training.release import record_evaluation

    with StageBars() as bars:
        result = evaluate(
            pipeline,
            cast,
            DEFAULT_PROMPTS if options.runs is None else options.runs,
            options.seed,
            options.output,
            partial(bars, "evaluate"),
            super_resolution_prompts=options.ssr_prompts,
        )
    for file in _recorded(options):
        record_evaluation(file, training_record(result))
    return markdown_table(result)


def _evaluate_task(pipeline, cast, task: str, options: argparse.Namespace) -> str:
    from .lumiere_core.evaluation.application_report import application_table, record_application
    from .lumiere_core.evaluation.applications import DEFAULT_RUNS, evaluate_task
    from .lumiere_core.progress import StageBars

    runs = DEFAULT_RUNS if options.runs is None else options.runs
    with StageBars() as bars:
        result = evaluate_task(pipeline, cast, task, runs, options.seed, options.output, partial(bars, task))
    if options.record and options.checkpoint:  # no SSR took part
        record_application(options.checkpoint, result)
    return application_table(result) + "\n"


def _recorded(options: argparse.Namespace) -> list[str]:
    """The given checkpoints into which figures are to be written."""
    return [file for file in (options.checkpoint, options.ssr_checkpoint) if file and options.record]


def train(options: argparse.Namespace) -> None:
    from .lumiere_core.bundled import find_recipe
    from .lumiere_core.training import load_recipe, release, train
    from .lumiere_core.video_io import require_writable
    from .lumiere_core.world.cast import load_cast, named_table

    recipe = load_recipe(find_recipe(options.recipe))
    cast = options.cast and load_cast(options.cast, named_table(recipe.cast))
    engine = {name: getattr(options, name) for name in ("device", "precision", "compile")}
    if options.dry_run is not None:
        _rehearse(recipe, cast, options.dry_run or None, engine)
        return
    folder = options.output or Path("runs") / recipe.name
    require_writable(folder / "state")
    files = train(recipe, folder, cast=cast, stages=options.stages, workers=options.workers, **engine)
    if not options.stages:
        files += release(recipe, folder)
    print("\n".join(str(file) for file in files))


def _rehearse(recipe, cast, most_clips: int | None, engine: dict) -> None:
    """Print how long each phase will take, as it is known."""
    from .lumiere_core.training.rehearsal import rehearse

    hours = 0.0
    for phase in rehearse(recipe, cast, most_clips=most_clips, **engine):
        hours += phase.hours
        print(
            f"{phase.stage} phase {phase.number}: {phase.steps} steps of {phase.seconds:.3f} s, "
            f"of which the batch takes {phase.batch_seconds:.3f}: {phase.hours:.2f} h",
            flush=True,
        )
    print(f"in all {hours:.2f} h")


def train_style(options: argparse.Namespace) -> None:
    from .lumiere_core.bundled import BASE, bundled_weights
    from .lumiere_core.training import character_recipe, style_recipe, train_style
    from .lumiere_core.video_io import require_writable
    from .lumiere_core.world.cast import load_cast

    checkpoint = options.checkpoint or bundled_weights(BASE)
    names = ("rank", "steps", "batch", "learning_rate", "seed")
    knobs = {name: value for name in names if (value := getattr(options, name)) is not None}
    _check_style_options(options)
    cast = options.cast and load_cast(options.cast)
    if options.character is None:
        files = (options.folder, options.output, checkpoint, options.text_encoder)
        recipe = style_recipe(*files, caption=options.caption or "", **knobs)
    else:
        files = (options.folder, options.character, options.output, checkpoint, options.text_encoder)
        recipe = character_recipe(*files, world=cast, **knobs)
    require_writable(options.output)
    names = ("device", "precision", "compile")
    print(train_style(recipe, options.output, cast=cast, **{name: getattr(options, name) for name in names}))


def _check_style_options(options: argparse.Namespace) -> None:
    if options.character is None and options.cast is not None:
        raise ValueError("cast is what else to draw beside a character; give its name with --character.")
    if options.character is not None and options.caption is not None:
        raise ValueError("caption is of a style's pictures; a character's captions are written for it. Leave it out.")


def stills(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from .lumiere_core.video_io import require_writable
    from .lumiere_core.world.cast import drawn_shapes, load_cast
    from .lumiere_core.world.looks import write_stills

    require_writable(options.folder)
    cast = load_cast(options.cast) if options.cast else drawn_shapes()
    with tqdm(total=options.count, desc="stills", dynamic_ncols=True) as bar:
        write_stills(options.folder, cast, options.look, options.count, options.size, options.seed, bar.update)
    print(options.folder)


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


def _read_inputs(options: argparse.Namespace, fps: float) -> dict:
    """The images and videos that are given to `generate`."""
    from .lumiere_core.given_files import read_clip, read_given

    names = ("image", "keyframes", "extend", "inpaint", "region", "mask", "fit", "last", "grow", "feather")
    given = read_given(fps, **{name: getattr(options, name) for name in names})
    return {"given": given, "video": options.input_video and read_clip(options.input_video, fps)}


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
    for add in (_add_generate, _add_run, _add_info, _add_evaluate, _add_train, _add_train_style, _add_stills):
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
    option("--base-window", type=int, metavar="N", help="frames that the base network sees at once, in a long clip")
    option("--base-overlap", type=int, metavar="N", help="frames that its neighbouring windows share")
    option("--loop", action="store_true", help="lead the clip's end into its start")
    _add_given_options(command)
    option(
        "--style", metavar="FILE", help="a style file, or a bundled style: stickers-line-drawing, stickers-watercolor"
    )
    option("--alpha", type=float, metavar="X", help="how much of the style, 0 to 1; default: 0.5")
    option(
        "--transparent",
        action="store_true",
        help="leave out the background, which must be plain; for .webp and folders of PNGs",
    )
    option("--diagnostics", action="store_true", help="a PNG beside the video: contact sheet, X-T slice, differences")
    _add_pipeline_options(option)


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
    option("--fit", help="how images of another shape are made to fit: crop, pad or stretch; default: crop")
    option("--last", type=int, metavar="N", help="how many of the video's last frames to go on from; default: all")
    option("--grow", type=int, metavar="N", help="pixels of the base video by which the mask is widened")
    option("--feather", type=int, metavar="N", help="pixels over which it then fades")


def _keyframe(text: str) -> tuple[int, Path]:
    """ "end.png@-1" -> (-1, end.png)."""
    file, _, index = text.rpartition("@")
    try:
        return int(index), Path(file)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a keyframe is FILE@INDEX such as end.png@-1; got {text!r}") from error


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
    option(
        "--task",
        type=lambda text: text.split(","),
        default=["text"],
        dest="tasks",
        metavar="A,B",
        help="text (the default), first_frame, keyframes, inpaint, region, style, video_to_video or strengths",
    )
    option(
        "--runs",
        "--prompts",
        type=int,
        metavar="N",
        help="videos of each task, or a few more; default: 256 of text, 128 of others",
    )
    option("--ssr-prompts", type=int, metavar="N", help="super-resolve only the first N clips; default: all")
    option("--seed", type=int, default=0)
    option("--output", type=Path, default=Path("evaluation"), metavar="DIR", help="folder for JSON and plots")
    option("--record", action="store_true", help="write the figures into the metadata of the given checkpoints")
    option("--steps", type=int, help="sampler steps of the base network; default: the checkpoint's")
    _add_cast_option(option)
    _add_pipeline_options(option)


def _add_train(commands) -> None:
    command = _command(commands, train, "train the stages of a recipe; started again, it goes on where it stopped")
    option = command.add_argument
    option("recipe", metavar="RECIPE", help="a TOML file, or the name of a bundled recipe: stickers")
    option("--output", type=Path, metavar="DIR", help="folder for checkpoints and logs; default: runs/<recipe>")
    option("--stages", type=lambda text: text.split(","), metavar="A,B", help="only these stages")
    option(
        "--dry-run",
        nargs="?",
        type=int,
        const=0,
        metavar="CLIPS",
        help="a few steps of every phase, and how long each will take; keep nothing. CLIPS: at most so many in a batch",
    )
    _add_cast_option(option)
    _add_training_options(option)
    option("--workers", type=int, default=0, help="processes that make batches")


def _add_train_style(commands) -> None:
    summary = (
        "make a style from a folder of pictures, or teach a character from cut-outs of it; started again, it goes on "
        "where it stopped"
    )
    command = _command(commands, train_style, summary)
    option = command.add_argument
    option("folder", metavar="FOLDER", type=Path, help="pictures; NAME.txt beside NAME.png is the picture's caption")
    option("--output", required=True, type=Path, metavar="FILE.safetensors", help="the style, a LoRA")
    option(
        "--character",
        metavar="NAME",
        help="what prompts will call the one thing that all pictures, transparent around it, are of: zorp, my mascot",
    )
    option(
        "--cast",
        type=Path,
        metavar="DIR",
        help="with a character: the pictures that the checkpoint draws, with their table; shown between, so that they "
        "are not forgotten",
    )
    option("--caption", metavar="TEXT", help="of pictures without a text file; default: an empty one")
    option("--checkpoint", metavar="FILE", type=Path, help="network that the style is for; default: the bundled base")
    option("--text-encoder", metavar="PATH", help="file or T5 folder; default: what the checkpoint names")
    option(
        "--rank",
        type=int,
        help="of the LoRA: more learns more, and makes a larger file; default: 4, of a character 8",
    )
    option(
        "--steps",
        type=int,
        help="optimizer steps; default: 400, of a character 300; raise it where a character looks like something else",
    )
    option("--batch", type=int, help="pictures a step; default: 16")
    option("--learning-rate", type=float, metavar="X", help="default: 0.004")
    option("--seed", type=int, default=0)
    _add_training_options(option)


def _add_stills(commands) -> None:
    command = _command(commands, stills, "draw captioned pictures of the world in a look, for train-style")
    option = command.add_argument
    option("folder", metavar="FOLDER", type=Path, help="where pictures and captions go")
    option("--look", default="plain", help="plain, line_drawing or watercolor")
    option("--count", type=int, default=1000, help="number of pictures; default: 1000")
    option("--size", type=int, default=64, help="side in pixels; default: 64")
    option("--seed", type=int, default=0)
    _add_cast_option(option)


def _add_cast_option(option) -> None:
    option("--cast", type=Path, metavar="DIR", help="cut-out pictures and a table of names; default: drawn shapes")


def _add_training_options(option) -> None:
    option("--device", help="cpu, cuda...; default: an accelerator where there is one")
    option("--precision", choices=("auto", "bf16", "no"), default="auto", help="of autocast; auto: bf16 but on CPUs")
    option("--compile", action="store_true", help="compile the network (needs a C++ compiler on CPUs)")


def _command(commands, run, summary: str) -> argparse.ArgumentParser:
    name = run.__name__.replace("_", "-")
    command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
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
