"""`lumiere train`: train the stages of a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_cast_option, add_training_options

SUMMARY = "train the stages of a recipe; started again, it goes on where it stopped"


def run(options: argparse.Namespace) -> None:
    from ..lumiere_core.checkpoints.bundled import find_recipe
    from ..lumiere_core.runtime.modules import require_modules
    from ..lumiere_core.runtime.outputs import require_writable
    from ..lumiere_core.training import load_recipe, release, train
    from ..lumiere_core.training.folder_lock import is_first

    require_modules("accelerate", "PIL")
    recipe = load_recipe(find_recipe(options.recipe))
    folder = options.output or Path("runs") / recipe.name
    rehearsed = options.dry_run is not None
    sources = _sources(recipe, options.cast, options.videos, None if rehearsed else folder)
    engine = {name: getattr(options, name) for name in ("device", "precision", "compile")}
    if rehearsed:
        _rehearse(recipe, sources, options.dry_run or None, engine)
        return
    require_writable(folder / ("state" if options.stages else "release/state"))
    files = train(recipe, folder, sources=sources, stages=options.stages, workers=options.workers, **engine)
    if not is_first():  # of several processes
        return
    if not options.stages:
        files += release(recipe, folder)
    print("\n".join(str(file) for file in files))


def _sources(recipe, cast: Path | None, videos: Path | None, folder: Path | None):
    """What each stage learns from: the user's videos, or the world."""
    from ..lumiere_core.training.footage import footage_sources
    from ..world.cast import load_cast, named_table
    from ..world.source import world_sources

    if videos is None:
        return world_sources(recipe, cast and load_cast(cast, named_table(recipe.cast)))
    if cast is not None:
        raise ValueError("cast is of the world that is drawn, videos are filmed; give one of them.")
    return footage_sources(videos, folder)


def _rehearse(recipe, sources, most_clips: int | None, engine: dict) -> None:
    """Print how long each phase will take, as it is known."""
    from ..lumiere_core.training.rehearsal import rehearse

    hours = 0.0
    for phase in rehearse(recipe, sources, most_clips=most_clips, **engine):
        hours += phase.hours
        print(
            f"{phase.stage} phase {phase.number}: {phase.steps} steps of {phase.seconds:.3f} s, "
            f"of which the batch takes {phase.batch_seconds:.3f}: {phase.hours:.2f} h",
            flush=True,
        )
    print(f"in all {hours:.2f} h")


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option("recipe", metavar="RECIPE", help="a TOML file, or the name of a bundled recipe: stickers, stickers-large")
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
    add_cast_option(option)
    add_training_options(option)
    option(
        "--videos",
        type=Path,
        metavar="PATH",
        help="instead of the world: a folder of videos, NAME.txt beside NAME.mp4 its caption, or a table (.csv, "
        ".jsonl, .parquet) with the columns file and caption",
    )
    option("--workers", type=int, default=0, help="processes that make batches")
