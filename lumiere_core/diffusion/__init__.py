"""Diffusion as functions from denoiser to denoiser, in k-diffusion's sigma space."""

from .denoiser import PREDICTIONS, Denoiser, add_noise, denoiser, predicted_x0, training_target, v_of
from .finite import check_finite, finite_callback
from .guidance import classifier_free_guidance, rescale_to
from .known_pixels import composite, keep_known
from .multidiffusion import WEIGHTS, Window, crop, multidiffusion, paste, plan_boxes, plan_windows, window_weights
from .noise import (
    LARGEST_SEED,
    SEEDS_THAT_DIFFER,
    NoiseSampler,
    augmentation_noise,
    check_seed,
    initial_noise,
    read_augmentation_noise,
    read_initial_noise,
    read_sampler_noise,
    sampler_noise,
)
from .options import KNOBS, UNSAID, Knob, SamplingOptions
from .samplers import (
    SAMPLERS,
    STOCHASTIC,
    Callback,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_euler,
    sample_euler_ancestral,
    sample_heun,
)
from .schedule import BETAS, NoiseSchedule
from .sdedit import noised_start
from .sharing import Share
from .spacing import SPACINGS, is_whole_run, least_denoise, sampling_sigmas
from .streaming import Frames, SlabFusion, frames_of, plan_slabs, stream
from .thresholding import dynamic_threshold, is_local_threshold, threshold

__all__ = [
    "KNOBS",
    "UNSAID",
    "Knob",
    "SamplingOptions",
    "BETAS",
    "PREDICTIONS",
    "SAMPLERS",
    "STOCHASTIC",
    "LARGEST_SEED",
    "SEEDS_THAT_DIFFER",
    "SPACINGS",
    "WEIGHTS",
    "Callback",
    "Denoiser",
    "NoiseSampler",
    "NoiseSchedule",
    "Share",
    "Window",
    "add_noise",
    "read_sampler_noise",
    "read_initial_noise",
    "read_augmentation_noise",
    "is_local_threshold",
    "stream",
    "plan_slabs",
    "frames_of",
    "SlabFusion",
    "Frames",
    "augmentation_noise",
    "check_finite",
    "check_seed",
    "classifier_free_guidance",
    "composite",
    "crop",
    "denoiser",
    "dynamic_threshold",
    "finite_callback",
    "initial_noise",
    "is_whole_run",
    "keep_known",
    "least_denoise",
    "multidiffusion",
    "noised_start",
    "paste",
    "plan_boxes",
    "plan_windows",
    "predicted_x0",
    "rescale_to",
    "sample_ddpm",
    "sample_dpmpp_2m",
    "sample_euler",
    "sample_euler_ancestral",
    "sample_heun",
    "sampler_noise",
    "sampling_sigmas",
    "threshold",
    "training_target",
    "v_of",
    "window_weights",
]
