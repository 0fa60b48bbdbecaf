"""The command as a process of test_processes.py: it notes every loss, saves after every step, and is killed if told.

KILL_AT: 100 * rank + step.
"""

import json
import os
import signal
import sys
from functools import partial

from lumiere_video.commands import main as cli
from lumiere_video.lumiere_core import training
from lumiere_video.lumiere_core.training.run import StageRun

RANK = int(os.environ.get("RANK", 0))
original = StageRun.train_step


def noted_step(run: StageRun, batch: dict) -> dict:
    if os.environ["KILL_AT"] and int(os.environ["KILL_AT"]) == 100 * RANK + run.step:
        os.kill(os.getpid(), signal.SIGKILL)
    entry = original(run, batch)
    if RANK == 0:
        with (run.folder / "losses.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry | {"processes": run.engine.share.ranks}) + "\n")
    return entry


StageRun.train_step = noted_step
training.train = partial(training.train, save_every_seconds=0)
sys.exit(cli.main(sys.argv[1:]))
