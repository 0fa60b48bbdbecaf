"""One rank of `test_ranks`: makes the tiny networks' clip and saves it, or goes wrong as it is told.

Arguments: base and SSR checkpoint, a folder for what is made, what goes wrong at which rank ("error@1"), if anything.
"""

import sys
import time
from pathlib import Path

import torch

from lumiere_video.lumiere_core.diffusion.options import SamplingOptions
from lumiere_video.lumiere_core.pipeline import LumierePipeline
from lumiere_video.lumiere_core.runtime.ranks import EndedElsewhere, Ranks, joined

SSR = SamplingOptions(steps=3, guidance=2.0, window=6, overlap=2, tile=24, tile_overlap=8, fuse="hann")


def make(ranks: Ranks, base: str, ssr: str, folder: Path, wrong: str | None) -> None:
    seen = {}

    def progress(stage, done, total):
        seen[stage] = (done, total)
        if wrong and done == 1 and wrong.endswith(f"@{ranks.rank}"):
            go_wrong(wrong.partition("@")[0], folder)

    pipeline = LumierePipeline.load(base, ssr, device="cpu", dtype="float32")
    clip = pipeline.generate("a star", seed=3, frames=20, ssr=SSR, progress=progress, share=ranks.share)
    torch.save({"frames": clip.frames, "seen": seen}, folder / f"{ranks.rank}.pt")


def go_wrong(how: str, folder: Path) -> None:
    if how == "stuck":
        (folder / "stuck").touch()
        time.sleep(600)
    raise KeyboardInterrupt if how == "cancel" else ValueError("this rank is out of order")


def main(base: str, ssr: str, folder: str, wrong: str | None = None) -> None:
    try:
        with joined("cpu") as ranks:
            make(ranks, base, ssr, Path(folder), wrong)
    except EndedElsewhere as ended:
        print("ended elsewhere")
        sys.exit(ended.code)
    except (ValueError, KeyboardInterrupt) as error:
        sys.exit(f"ended by {type(error).__name__}: {error}")


main(*sys.argv[1:])
