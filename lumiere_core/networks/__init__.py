"""The networks: one space-time U-Net class that serves text-to-image, base video and super-resolution."""

from .config import LevelConfig, TemporalConfig, TemporalLevelConfig, UNetConfig
from .inflation import freeze_spatial, inflate, temporal_parameters, text_to_image, widen_input
from .stunet import Skips, STUNet

__all__ = [
    "LevelConfig",
    "Skips",
    "STUNet",
    "TemporalConfig",
    "TemporalLevelConfig",
    "UNetConfig",
    "freeze_spatial",
    "inflate",
    "temporal_parameters",
    "text_to_image",
    "widen_input",
]
