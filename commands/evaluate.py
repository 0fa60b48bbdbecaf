"""`lumiere evaluate`: measure how well videos show what prompts ask for."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from .options import add_cast_option, add_pipeline_options, add_seed_option, load_pipeline
from .sampling_flags import add_sampling_options, read_sampling_options

SUMMARY = "measure how well videos show what prompts ask for"


def run(options: argparse.Namespace) -> None:
    from ..evaluation.tasks.loop import check_tasks
    from ..evaluation.tasks.text import TEXT
    from ..lumiere_core.runtime.modules import require_modules
    from ..lumiere_core.runtime.outputs import require_writable

    require_modules("cv2", "PIL")
    check_tasks(options.tasks, options.runs, options.seed)
    for file in (options.output / "evaluation.json", *map(Path, _recorded(options))):
        require_writable(file)
    options.super_resolution &= TEXT in options.tasks
    pipeline = load_pipeline(options, options.device).with_defaults(**read_sampling_options(options))
    cast = _load_cast(options, pipeline.base.info)
    for task in options.tasks:  # what is finished stays, should a later one be interrupted
        if task == TEXT:
            print(_evaluate_text(pipeline, cast, options))
        else:
            print(_evaluate_task(pipeline, cast, task, options))


def _load_cast(options: argparse.Namespace, info):
    """The things that a checkpoint was trained to draw: the given folder's, or the drawn shapes."""
    from ..world.cast import drawn_shapes, load_cast, named_table

    shapes, name = drawn_shapes(), info.training.get("cast", {}).get("name")
    if options.cast:
        return load_cast(options.cast, name and named_table(name))
    if name not in (None, shapes.name):
        raise ValueError(f"the checkpoint draws {name}; give the folder of their pictures (--cast DIR).")
    return shapes


def _evaluate_text(pipeline, cast, options: argparse.Namespace) -> str:
    from ..evaluation.report.record import text_record
    from ..evaluation.report.text_report import text_table
    from ..evaluation.tasks.text import DEFAULT_PROMPTS, evaluate_text
    from ..lumiere_core.runtime.progress import StageBars
    from ..lumiere_core.training.release import record_evaluation

    with StageBars() as bars:
        result = evaluate_text(
            pipeline,
            cast,
            DEFAULT_PROMPTS if options.runs is None else options.runs,
            options.seed,
            options.output,
            partial(bars, "evaluate"),
            super_resolution_prompts=options.ssr_prompts,
        )
    for file in _recorded(options):
        record_evaluation(file, text_record(result))
    return text_table(result)


def _evaluate_task(pipeline, cast, task: str, options: argparse.Namespace) -> str:
    from ..evaluation.report.record import record_task
    from ..evaluation.tasks.loop import DEFAULT_RUNS, describe, evaluate_task
    from ..lumiere_core.runtime.progress import StageBars

    runs = DEFAULT_RUNS if options.runs is None else options.runs
    with StageBars() as bars:
        result = evaluate_task(pipeline, cast, task, runs, options.seed, options.output, partial(bars, task))
    if options.record and options.checkpoint:  # no SSR took part
        record_task(options.checkpoint, result)
    return describe(result) + "\n"


def _recorded(options: argparse.Namespace) -> list[str]:
    """The given checkpoints into which figures are to be written."""
    return [file for file in (options.checkpoint, options.ssr_checkpoint) if file and options.record]


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option(
        "--task",
        type=lambda text: text.split(","),
        default=["text"],
        dest="tasks",
        metavar="A,B",
        help="text (the default), first_frame, keyframes, inpaint, region, shapes, style, video_to_video or strengths",
    )
    option(
        "--runs",
        "--prompts",
        type=int,
        metavar="N",
        help="videos of each task, or a few more; default: 256 of text, 128 of others",
    )
    option("--ssr-prompts", type=int, metavar="N", help="super-resolve only the first N clips; default: all")
    add_seed_option(option)
    option("--output", type=Path, default=Path("output/evaluation"), metavar="DIR", help="folder for JSON and plots")
    option("--record", action="store_true", help="write the figures into the metadata of the given checkpoints")
    add_cast_option(option)
    add_pipeline_options(option)
    add_sampling_options(command)
