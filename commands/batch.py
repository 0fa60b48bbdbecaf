"""`lumiere batch`: make a video from each row of a table."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from pathlib import Path

from .generate import add_clip_options
from .options import add_pipeline_options
from .sampling_flags import add_sampling_options

SUMMARY = "make a video from each row of a table of prompts; started again, it goes on where it stopped"


def run(options: argparse.Namespace) -> None:
    from ..lumiere_core.batch.folder import BatchFolder
    from ..lumiere_core.runtime.modules import require_modules
    from ..lumiere_core.runtime.ranks import are_told
    from .batch_table import read_jobs

    if are_told():
        raise ValueError(
            "torchrun makes one clip with several processes; of many clips each worker makes its own: start batch "
            "without it, with --workers or --ray."
        )
    if options.ray is not None:
        require_modules("ray")
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"workers must be at least 1; got {options.workers}.")
    jobs = read_jobs(options.table, options, add_row_options)
    networks = _networks(options)
    folder = BatchFolder(options.output, networks)
    failed = _make(folder, jobs, networks, options)
    print(f"{options.output}: {len(jobs) - failed} of {len(jobs)} clips are there")
    if failed:
        raise ValueError(f"{failed} of {len(jobs)} clips were not made; {options.output / 'errors.jsonl'} says why.")


def _make(folder, jobs, networks, options: argparse.Namespace) -> int:
    """Make what is not there yet; returns how many failed."""
    from tqdm import tqdm

    from ..lumiere_core.batch.jobs import Failed

    waiting, failed = folder.waiting(jobs), 0
    if not waiting:
        return 0
    with _crew(networks, options) as (crew, workers):
        folder.begin(jobs)
        done = len(jobs) - len(waiting)
        with tqdm(total=len(jobs), initial=done, desc="batch", unit="clip", dynamic_ncols=True) as bar:

            def report(job, outcome):
                nonlocal failed
                folder.report(job, outcome)
                failed += isinstance(outcome, Failed)
                bar.update()

            crew.run(waiting, workers, report)
    return failed


@contextmanager
def _crew(networks, options: argparse.Namespace):
    from ..lumiere_core.batch.local import local_crew
    from ..lumiere_core.batch.ray_cluster import ray_crew

    if options.ray is None:
        workers = options.workers or 1
        yield local_crew(networks, workers), workers
        return
    with ray_crew(options.ray, networks, options.workers) as crew:
        yield crew


def _networks(options: argparse.Namespace):
    from ..lumiere_core.batch.jobs import Networks

    files = (options.checkpoint, options.ssr_checkpoint, options.text_encoder)
    paths = (file and str(file.absolute()) for file in files)
    return Networks(*paths, options.device, options.dtype, options.super_resolution)


def add_arguments(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option("table", metavar="PROMPTS", type=Path, help=".csv or .jsonl; columns: prompt, output, and flags of generate")
    option("--output", required=True, type=Path, metavar="DIR", help="clips, results.jsonl and errors.jsonl")
    option("--workers", type=int, metavar="N", help="processes that each load the networks once; default: 1")
    option(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="run on a Ray cluster: this machine's, or the one at an address; workers are one for each GPU or node",
    )
    add_row_options(command)
    add_pipeline_options(option)


def add_row_options(command: argparse.ArgumentParser) -> None:
    """What a row may say, too; said here, it is of all rows that say nothing."""
    add_clip_options(command.add_argument)
    add_sampling_options(command)
