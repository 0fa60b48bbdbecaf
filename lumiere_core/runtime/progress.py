"""Progress on a terminal: one bar per stage."""

from __future__ import annotations

from tqdm import tqdm


class StageBars:
    """Callable as `progress(stage, done, total)`: a bar for each new stage, on stderr. A context manager."""

    def __init__(self):
        self.stage, self.bar = None, None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.close()
            self.stage, self.bar = stage, tqdm(total=total, desc=stage, dynamic_ncols=True)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.stage, self.bar = None, None

    def __enter__(self) -> StageBars:
        return self

    def __exit__(self, *_) -> None:
        self.close()
