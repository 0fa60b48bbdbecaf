"""Time and peak memory of `lumiere generate`, run as a user runs it: a fresh process, defaults unless told otherwise.

    python benchmarks/generate.py [options of lumiere generate]

Prints a table and one line of JSON. Peak memory is the whole process's, measured by the operating system.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = "a red circle moving right on a gray background"
STAGES = "--stages"


def main(options: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = ["generate", PROMPT, "--output", str(Path(folder) / "clip.mp4"), *options]
        times = Path(folder) / "times.json"
        start = time.perf_counter()
        subprocess.run([sys.executable, __file__, STAGES, str(times), *command], check=True)
        total = time.perf_counter() - start
        seconds = {**json.loads(times.read_text()), "in all": total}
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    for name, value in seconds.items():
        print(f"{name:<28}{value:8.1f} s")
    print(f"{'peak memory':<28}{peak_mib:8.0f} MiB")
    result = {name: round(value, 2) for name, value in seconds.items()}
    print(json.dumps({"seconds": result, "peak_mib": round(peak_mib), **machine(), "options": options}))


def machine() -> dict:
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpus": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__, "gpu": accelerator}


def stages(times: Path, arguments: list[str]) -> None:
    """In the process that is measured: the command itself, with a clock at each stage's first and last step."""
    laps, last = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        laps[name] = laps.get(name, 0.0) + now - last
        last = now

    from lumiere_video.commands import main as cli
    from lumiere_video.lumiere_core.runtime import progress

    class Clock(progress.StageBars):
        def __call__(self, stage: str, done: int, total: int) -> None:
            super().__call__(stage, done, total)
            if done == 0 and not laps:
                lap("import, load, encode text")
            elif done in (0, total):
                lap(stage)

    progress.StageBars = Clock
    code = cli.main(arguments)
    if code:
        sys.exit(code)
    lap("write the video")
    times.write_text(json.dumps(laps))


if __name__ == "__main__":
    if sys.argv[1:2] == [STAGES]:
        stages(Path(sys.argv[2]), sys.argv[3:])
    else:
        main(sys.argv[1:])
