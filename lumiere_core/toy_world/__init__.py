"""A procedural, seeded, captioned world of moving shapes: unlimited training video with exact labels."""

from .captions import LABEL_CLASSES, Caption, SceneLabels, canonical_caption, caption, scene_labels, still_caption
from .render import FPS, render_clip, render_frames, render_still
from .scene import CLIP_SECONDS, MovingObject, Scene, make_scene, object_track, sample_scene
from .vocabulary import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    COLOR_RGB,
    COLORS,
    HELD_OUT_COMBINATIONS,
    MOTIONS,
    SHAPES,
    TRAINING_COMBINATIONS,
    is_held_out,
    is_legal,
)

__all__ = [
    "BACKGROUNDS",
    "BACKGROUND_RGB",
    "CLIP_SECONDS",
    "COLORS",
    "COLOR_RGB",
    "Caption",
    "FPS",
    "HELD_OUT_COMBINATIONS",
    "LABEL_CLASSES",
    "MOTIONS",
    "MovingObject",
    "SHAPES",
    "Scene",
    "SceneLabels",
    "TRAINING_COMBINATIONS",
    "canonical_caption",
    "caption",
    "is_held_out",
    "is_legal",
    "make_scene",
    "object_track",
    "render_clip",
    "render_frames",
    "render_still",
    "sample_scene",
    "scene_labels",
    "still_caption",
]
