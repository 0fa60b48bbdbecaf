"""The list of nodes, as ComfyUI asks for it."""

from __future__ import annotations

from . import host
from .conditioning import BuildConditioningMask
from .diagnostics import VideoDiagnostics
from .loaders import LoadSSR, LoadSTUNet
from .pixel_video import EmptyPixelVideo, FramesToLatent, LatentToFrames
from .sample_media import SampleMedia
from .sampler import STUNetSampler
from .style import StyleWeightInterpolate
from .super_resolution import SSRConditioning, TemporalMultiDiffusionSSR
from .text import TextEncode
from .timeline import timeline
from .transparency import RemovePlainBackground

NODES = (
    LoadSTUNet,
    LoadSSR,
    TextEncode,
    StyleWeightInterpolate,
    BuildConditioningMask,
    STUNetSampler,
    SSRConditioning,
    TemporalMultiDiffusionSSR,
    EmptyPixelVideo,
    FramesToLatent,
    LatentToFrames,
    VideoDiagnostics,
    RemovePlainBackground,
    SampleMedia,
)


class LumiereExtension(host.ComfyExtension):
    async def on_load(self) -> None:
        host.register_model_folder()
        host.serve("/lumiere/timeline", timeline)

    async def get_node_list(self):
        return list(NODES)
