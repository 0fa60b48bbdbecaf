"""What `lumiere evaluate` has a pipeline do, a file per task: text to video, and the paper's applications by name."""

from . import first_frame, inpaint, keyframes, region, shapes, style, video_to_video
from .task import Task

__all__ = ["TASKS"]

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        first_frame.TASK,
        keyframes.TASK,
        inpaint.TASK,
        region.TASK,
        shapes.TASK,
        style.TASK,
        video_to_video.TASK,
        video_to_video.SWEEP,
    )
}
