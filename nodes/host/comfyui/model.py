"""STUNet and SSR as core MODELs: a BaseModel on core's own patcher, with a pixel-space latent format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management as management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from comfy.patcher_extension import CallbacksMP

from ....lumiere_core.checkpoints.format import (
    CheckpointInfo,
    load_checkpoint,
    meta_network,
    require_kind,
)
from ....lumiere_core.conditioning.given import Condition
from ....lumiere_core.conditioning.low_res import condition_in_place
from ....lumiere_core.diffusion import NoiseSchedule, augmentation_noise, predicted_x0, threshold, v_of
from ....lumiere_core.networks import STUNet, UNetConfig
from ....lumiere_core.runtime.devices import DTYPES
from ....lumiere_core.runtime.memory import network_bytes
from ....lumiere_core.runtime.notices import warn
from ....lumiere_core.sampling import known_channels, warn_of_untrained
from ....lumiere_core.video.diagnostics import frame_grid
from ...checks import check_model_kind
from .notices import noticing
from .patches import check_patches, skips_of


class PixelVideo(comfy.latent_formats.LatentFormat):
    """A latent that is the video itself: (B, 3, T, H, W) in [-1, 1]."""

    latent_channels = 3
    latent_dimensions = 3
    spacial_downscale_ratio = 1
    temporal_downscale_ratio = 1
    latent_rgb_factors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    # Core previews one frame; given a grid of frames as one, it previews the clip, in its own samplers too.
    latent_rgb_factors_reshape = staticmethod(frame_grid)


class LumiereConfig(comfy.supported_models_base.BASE):
    unet_extra_config = {}
    latent_format = PixelVideo
    # What `auto` takes is the first of these that the device is fast in.
    supported_inference_dtypes = [torch.bfloat16, torch.float16, torch.float32]

    def inpaint_model(self) -> bool:
        return False


class PlacedSTUNet(STUNet):
    """The network as core calls it: text is `context`; a learned variance (DeepFloyd IF) is dropped.

    residual_schedule: the schedule of a net that predicts the residual, which core does not know: it says v instead.
    """

    residual_schedule: NoiseSchedule | None = None

    def __init__(self, config: UNetConfig, model_channels: int, **options):
        """model_channels: the finest level's, which nodes that patch blocks read from core's config of the network."""
        super().__init__(config, **options)

    def forward(
        self, x, timesteps, context=None, control=None, transformer_options=None, noise_level=None, **_
    ):  # fmt: skip
        skips = skips_of(transformer_options or {})
        output = super().forward(x, timesteps, context, noise_level=noise_level, skips=skips)[:, :3]
        if self.residual_schedule is None:
            return output
        noisy, low_res = x.float().chunk(2, dim=1)
        sigma = self.residual_schedule.timestep_to_sigma(timesteps)
        x0 = predicted_x0(noisy, output.float(), sigma, "residual", low_res)
        return v_of(x0, noisy, sigma)


class LumiereModel(comfy.model_base.BaseModel):
    """A core model of one Lumiere network.

    Its conditioning: the text, and what is known of the clip, or for an SSR the small video.
    """

    def __init__(self, model_config: LumiereConfig, info: CheckpointInfo, device=None):
        residual = info.prediction == "residual"
        info = replace(info, prediction="v") if residual else info  # what the placed network says, to all who ask it
        predictions = {"eps": comfy.model_base.ModelType.EPS, "v": comfy.model_base.ModelType.V_PREDICTION}
        super().__init__(model_config, predictions[info.prediction], device=device, unet_model=PlacedSTUNet)
        self.info = info
        self.diffusion_model.residual_schedule = info.schedule if residual else None
        self.model_sampling.set_sigmas(info.schedule.sigmas)

    def extra_conds(self, **given):
        with noticing("Lumiere model"):
            return self._conds(given)

    def _conds(self, given: dict) -> dict:
        windowed = self.current_patcher is not None and "context_handler" in self.current_patcher.model_options
        if self.info.kind != "ssr" and not windowed:
            warn_of_untrained(self.info, given["noise"].shape[2:])
        if given.get("control") is not None:
            warn("a ControlNet has no effect here: there is none for these networks.")
        conds = {"c_crossattn": comfy.conds.CONDRegular(self._text(given))}
        if self.info.kind == "ssr":
            low_res, level = self._low_res(given)
            conds["c_concat"] = comfy.conds.CONDNoiseShape(low_res)
            conds["noise_level"] = comfy.conds.CONDRegular(level)
        for channels in self._known_channels(given).values():
            conds["c_concat"] = comfy.conds.CONDNoiseShape(channels.to(given["device"]))
        return conds

    def resize_cond_for_context_window(self, cond_key, cond_value, window, x_in, device, retain_index_list=()):
        """What does not belong to frames is whole in every window, even where a size happens to equal the clip's."""
        return None if cond_key == "c_concat" else cond_value

    def memory_required(self, input_shape, cond_shapes=None):
        batch, _, frames, height, width = input_shape
        config = self.diffusion_model.config
        return network_bytes(config, batch * frames, height, width, self.get_dtype_inference())

    def _text(self, given: dict) -> torch.Tensor:
        text, expected = given.get("cross_attn"), self.diffusion_model.config.text_dim
        if text is None or text.shape[-1] != expected:
            got = None if text is None else text.shape[-1]
            raise ValueError(
                f"Lumiere model: conditioning must be text of width {expected}, from the encoder that the network was "
                f"trained with; got {got}. Wire the clip output of Load STUNet."
            )
        return text[:, : self.info.text_tokens]  # core pads a T5's texts to 128 tokens or more

    def _known_channels(self, given: dict) -> dict[str, torch.Tensor]:
        """C and M of a conditional base, of the clip that BuildConditioningMask attached; of no clip zeros."""
        clip = given.get("concat_latent_image")
        condition = None if clip is None else Condition(clip, given["concat_mask"])
        return {} if self.info.kind == "ssr" else known_channels(self.info, given["noise"].shape, condition)

    def _low_res(self, given: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """The upsampled, noise-augmented small video, and the augmentation level; noise from the run's own seed."""
        info, noise, low_res = self.info, given["noise"], given.get("lumiere_low_res")
        if low_res is None:
            raise ValueError(
                "Lumiere SSR: conditioning must carry a small video; got none. Wire SSR Conditioning, or use "
                "Temporal MultiDiffusion SSR."
            )
        frames, height, width = low_res.shape[2:]
        size = (frames, height * info.scale, width * info.scale)
        if given["lumiere_scale"] != info.scale or size != tuple(noise.shape[2:]):
            raise ValueError(
                f"Lumiere SSR: the latent must be {info.scale} times the small video, (T, H, W) = {size}; got "
                f"{tuple(noise.shape[2:])} at scale {given['lumiere_scale']}. Set SSR Conditioning's scale to "
                f"{info.scale} and wire its latent."
            )
        level = given["lumiere_noise_level"]
        level = torch.tensor([(info.sampling.noise_level or 0) if level is None else level])
        augmentation = augmentation_noise((1, 3, *size), given.get("seed") or 0)
        video = condition_in_place(low_res, augmentation, level, info.schedule, info.scale, info.align_corners)
        return video.to(given["device"]), level.to(given["device"])


def load_model(path: Path, kinds: tuple[str, ...], dtype: str, disable_dynamic: bool = False):
    """A MODEL from a checkpoint; `dtype` is auto, float32, bfloat16 or float16."""
    info, tensors = load_checkpoint(path)
    require_kind(info, kinds, path)
    # Checked here, as with dynamic memory core's layers have no weights before they are loaded; and before the placed
    # network takes the memory that the file says it needs.
    config = meta_network(info, tensors, path).config
    load_device, offload_device = management.get_torch_device(), management.unet_offload_device()

    model_config = LumiereConfig({"config": config, "model_channels": config.levels[0].channels})
    supported = model_config.supported_inference_dtypes
    parameters = sum(tensor.numel() for tensor in tensors.values())
    weight_dtype = DTYPES.get(dtype) or management.unet_dtype(load_device, parameters, supported)
    cast_to = management.unet_manual_cast(weight_dtype, load_device, supported)
    model_config.set_inference_dtype(weight_dtype, cast_to, device=load_device)

    model = LumiereModel(model_config, info, device=offload_device)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=load_device, offload_device=offload_device)
    if not patcher.is_dynamic():  # core's layers would keep the file's dtype
        tensors = {name: tensor.to(weight_dtype) for name, tensor in tensors.items()}
    model.diffusion_model.load_state_dict(tensors, assign=patcher.is_dynamic())
    patcher.cached_patcher_init = (load_model, (path, kinds, dtype))
    patcher.add_callback(CallbacksMP.ON_PRE_RUN, check_patches)
    if info.thresholding:
        patcher.set_model_sampler_post_cfg_function(lambda args: threshold(args["denoised"], **info.thresholding))
    return patcher


def model_info(model, kinds: tuple[str, ...]) -> CheckpointInfo:
    """What a MODEL is; another kind, or another model than ours, is an error."""
    core_model = model.model
    ours = isinstance(core_model, LumiereModel)
    check_model_kind(core_model.info.kind if ours else type(core_model).__name__, kinds)
    return core_model.info
