"""From a prompt to a video: text encoder, base network, super-resolution network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from .checkpoints import bundled
from .checkpoints.format import CheckpointInfo, load_stunet
from .conditioning.fitting import FITS, fit_video
from .conditioning.given import CONDITION_CHANNELS, Given
from .conditioning.text import TextEncoder, load_text_encoder
from .conditioning.vocabulary import Vocabulary, taught
from .diffusion.noise import SEEDS_THAT_DIFFER, check_seed
from .diffusion.options import UNSAID, SamplingOptions
from .diffusion.sharing import Share
from .networks import STUNet
from .runtime.devices import resolve_device, resolve_dtype
from .runtime.memory import available_bytes, clear_out_of_memory, require_clip_memory
from .runtime.notices import warn
from .sampling import SamplingPlan, plan_sampling, run_on, sample_base, super_resolve, warn_of_untrained
from .style import Style, stylize
from .video.tensors import check_frames, frames_to_video, video_to_frames

BASE_STAGE, SSR_STAGE = "base", "super-resolution"
BASE_CHANNELS = (3, 3 + CONDITION_CHANNELS)  # a text-to-video net's, a conditional one's
DEFAULT_STRENGTH = 0.6

# progress(stage, windows evaluated, windows in all), from (stage, 0, ...) on; see SamplingPlan.evaluations
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Clip:
    """A finished video.

    frames: (T, H, W, 3) float32 in [0, 1], RGB, on the CPU. low_res: what the base network made, (T, h, w, 3); the same
    tensor where there was no super-resolution. fps: frames per second.
    """

    frames: torch.Tensor
    low_res: torch.Tensor
    fps: float


@dataclass(frozen=True)
class Start:
    """A video to start from (SDEdit): frames (T, H, W, 3) in [0, 1], of which `strength`, 0 to 1, is made anew.

    fit: how frames of another shape are made to fit, see FITS.
    """

    frames: torch.Tensor
    strength: float = DEFAULT_STRENGTH
    fit: str = "crop"

    def __post_init__(self):
        check_frames(self.frames, "a video to start from")
        if self.fit not in FITS:
            raise ValueError(f"fit must be one of {', '.join(FITS)}; got {self.fit!r}.")

    def clip(self, plan: SamplingPlan) -> torch.Tensor:
        """Its first frames, fitted: (1, 3, T, H, W) in [-1, 1]."""
        return fit_video(self.frames[: plan.frames], (plan.height, plan.width), self.fit)[0]


@dataclass(frozen=True)
class Model:
    """A network with what it takes to sample from it."""

    info: CheckpointInfo
    network: STUNet
    encoder: TextEncoder

    def with_defaults(self, options: SamplingOptions) -> Model:
        sampling = options.over(self.info.sampling)
        return dataclasses.replace(self, info=dataclasses.replace(self.info, sampling=sampling))


class LumierePipeline:
    """Text to video with a base network and, unless it is left out, a super-resolution network (SSR).

    The same seed gives the same video, bit for bit on the same CPU with as many threads. With other threads or on
    another device sums are rounded otherwise: between one and two threads, pixels of the bundled networks' clips differ
    by up to 1e-5 in float32; in bfloat16 by 0.005 on average, and single ones by up to 0.2.

    >>> clip = LumierePipeline.load().generate("a red circle moving right on a gray background")
    """

    def __init__(self, base: Model, ssr: Model | None, device: torch.device, dtype: torch.dtype):
        self.base, self.ssr, self.device, self.dtype = base, ssr, device, dtype

    @classmethod
    def load(
        cls,
        checkpoint: str | Path | None = None,
        ssr_checkpoint: str | Path | None = None,
        text_encoder: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        super_resolution: bool = True,
    ) -> LumierePipeline:
        """Load the networks; None takes the bundled ones.

        text_encoder: a file of kind text or a folder with a T5; None takes the ones that the checkpoints name.
        device, dtype: see `devices`. super_resolution: False leaves the SSR out.
        Raises ValueError for a file that is missing, damaged, of another kind or with other shapes.
        """
        place = resolve_device(device)
        loader = _Loader(text_encoder, place, resolve_dtype(dtype, place))
        base = loader.model(checkpoint, bundled.BASE, ("base", "t2i"), channels=BASE_CHANNELS)
        ssr = loader.model(ssr_checkpoint, bundled.SSR, ("ssr",), channels=(6,)) if super_resolution else None
        return cls(base, ssr, place, loader.dtype)

    def stylized(self, style: Style, alpha: float) -> LumierePipeline:
        """The same with the base network's spatial weights blended with a style's; see `stylize`."""
        info, network = self.base.info, stylize(self.base.network, style, alpha)
        if style.character is not None:
            info = dataclasses.replace(info, training=taught(info.training, style.character))
        base = dataclasses.replace(self.base, info=info, network=network)
        return LumierePipeline(base, self.ssr, self.device, self.dtype)

    def with_defaults(self, base: SamplingOptions = UNSAID, ssr: SamplingOptions = UNSAID) -> LumierePipeline:
        """The same with other defaults for sampling, where they are said."""
        return LumierePipeline(
            self.base.with_defaults(base), self.ssr and self.ssr.with_defaults(ssr), self.device, self.dtype
        )

    def generate(
        self,
        prompt: str,
        negative: str = "",
        *,
        seed: int = 0,
        frames: int | None = None,
        size: int | tuple[int, int] | None = None,
        base: SamplingOptions = UNSAID,
        ssr: SamplingOptions = UNSAID,
        given: Given | None = None,
        start: Start | None = None,
        super_resolution: bool | None = None,
        progress: Progress | None = None,
        share: Share | None = None,
    ) -> Clip:
        """Make a video. What is None comes from the checkpoint.

        frames: any number from 1. size: of the base video, (height, width) or the side of a square; the result is
        that times the SSR's scale. base, ssr: how the two networks sample.
        given: images or a video of which pixels are known, and come out exactly; in the SSR too where they are large
        enough. start: a video to make something else of (SDEdit); the clip has its frames, or its first ones.
        super_resolution: None is yes where an SSR is loaded. share: of several processes that make this clip together,
        all called alike, this one's; see `runtime.ranks`. The same seed gives the same video, as said of the class.
        Raises ValueError for what cannot be made, before anything is computed. Warns of a prompt with words that the
        base network never heard.
        """
        if start is not None and given is not None:
            raise ValueError("a video to start from and known pixels cannot both be given; leave one out.")
        _check_seed(seed)
        size = _pair(self.base.info.size if size is None else size)
        frames = _frames(frames, self.base.info.frames, given, start)
        base_plan = plan_sampling(self.base.info, frames, size, base, 1.0 if start is None else start.strength)
        ssr_plan = None
        if self._wants_ssr(super_resolution, ssr):
            ssr_plan = self._ssr_plan(frames, size, ssr)
            self._require_memory(self.ssr, ssr_plan)
        self._require_memory(self.base, base_plan)
        _warn_of_unknown_words(self.base.info, prompt)
        warn_of_untrained(self.base.info, base_plan.window_size)
        with torch.inference_mode(), clear_out_of_memory("generate"):
            # All that can be wrong with what is given is found before the first network runs.
            run = self._options(self.base, BASE_STAGE, base_plan, progress, share)
            run |= _given_options(base_plan, given, start)
            enlarge = self._ssr_options(ssr_plan, progress, share, given) if ssr_plan else {}
            texts = _encode([self.base, self.ssr] if ssr_plan else [self.base], prompt, negative)
            low_res = sample_base(seed=seed, **_texts(texts, self.base), **run)
            video = (
                super_resolve(low_res=low_res, seed=seed, **_texts(texts, self.ssr), **enlarge) if ssr_plan else low_res
            )
        small = video_to_frames(low_res)
        return Clip(video_to_frames(video) if ssr_plan else small, small, self.base.info.fps)

    def upscale(
        self,
        low_res: torch.Tensor,
        prompt: str,
        negative: str = "",
        *,
        seed: int = 0,
        ssr: SamplingOptions = UNSAID,
        given: Given | None = None,
        progress: Progress | None = None,
        share: Share | None = None,
    ) -> torch.Tensor:
        """The SSR alone: frames (T, h, w, 3) in [0, 1] -> (T, h * scale, w * scale, 3) in [0, 1].

        Given a clip's `low_res`, and the prompt, seed, options and known pixels of that clip, it makes the clip's
        `frames` again, but for rounding.
        """
        check_frames(low_res, "low_res")
        _check_seed(seed)
        frames, height, width, _ = low_res.shape
        plan = self._ssr_plan(frames, (height, width), ssr)
        self._require_memory(self.ssr, plan)
        with torch.inference_mode(), clear_out_of_memory("upscale"):
            enlarge = self._ssr_options(plan, progress, share, given)
            texts = _texts(_encode([self.ssr], prompt, negative), self.ssr)
            video = super_resolve(low_res=frames_to_video(low_res), seed=seed, **texts, **enlarge)
        return video_to_frames(video)

    def _wants_ssr(self, wanted: bool | None, options: SamplingOptions) -> bool:
        """Whether to run the SSR; options of its own that would have no effect are an error."""
        if wanted or (wanted is None and self.ssr is not None):
            return True
        for name in options.said():
            raise ValueError(f"{name} belongs to super-resolution, which is off; leave it out.")
        return False

    def _ssr_plan(self, frames: int, size: tuple[int, int], options: SamplingOptions) -> SamplingPlan:
        if self.ssr is None:
            raise ValueError("super-resolution: this pipeline was loaded without an SSR; load it with one.")
        scale = self.ssr.info.scale
        return plan_sampling(self.ssr.info, frames, (size[0] * scale, size[1] * scale), options)

    def _require_memory(self, model: Model, plan: SamplingPlan) -> None:
        config = model.network.config
        require_clip_memory(model.info.kind, config, plan.shape[2:], plan.window_size, self.device, self.dtype)

    def _ssr_options(
        self, plan: SamplingPlan, progress: Progress | None, share: Share | None, given: Given | None
    ) -> dict:
        known = None
        if given is not None:
            known = given.at_full_size(plan.frames, (plan.height, plan.width), self.ssr.info.scale)
        return self._options(self.ssr, SSR_STAGE, plan, progress, share) | {"known": known}

    def _options(
        self, model: Model, stage: str, plan: SamplingPlan, progress: Progress | None, share: Share | None
    ) -> dict:
        """What both networks' runs have in common."""
        place = run_on(model.network, plan, self.device, self.dtype, available_bytes(self.device))
        evaluated = partial(progress, stage) if progress else None
        return place | {"info": model.info, "plan": plan, "evaluated": evaluated, "share": share}


class _Loader:
    """Loads networks; those that name the same text encoder share it."""

    def __init__(self, text_encoder: str | Path | None, device: torch.device, dtype: torch.dtype):
        self.text_encoder, self.device, self.dtype = text_encoder, device, dtype
        self.encoders: dict[Path, TextEncoder] = {}

    def model(self, checkpoint: str | Path | None, default: str, kinds: tuple[str, ...], channels: tuple) -> Model:
        path = bundled.bundled_weights(default) if checkpoint is None else Path(checkpoint)
        info, network = load_stunet(path, kinds, self.dtype, self.device)
        if network.config.in_channels not in channels:
            raise ValueError(
                f"{path}: a network with {' or '.join(map(str, channels))} input channels is needed here; this one "
                f"has {network.config.in_channels}."
            )
        return Model(info, network, self.encoder(network, info, path))

    def encoder(self, network: STUNet, info: CheckpointInfo, path: Path) -> TextEncoder:
        if self.text_encoder is None:
            source = bundled.find_text_encoder(info.text_encoder, path)
        else:
            source = Path(self.text_encoder)
        if source not in self.encoders:
            self.encoders[source] = load_text_encoder(source, self.device, self._text_dtype(source))
        encoder = self.encoders[source]
        if encoder.dim != network.config.text_dim:
            raise ValueError(
                f"{path}: the network hears text of width {network.config.text_dim}; the encoder {source} gives "
                f"{encoder.dim}. Give the encoder that it was trained with (text_encoder)."
            )
        return encoder

    def _text_dtype(self, source: Path) -> torch.dtype:
        """Small encoders in float32; a T5-XXL in half precision where the networks are: bfloat16, float16 overflows."""
        return torch.bfloat16 if source.is_dir() and self.dtype != torch.float32 else torch.float32


def _warn_of_unknown_words(info: CheckpointInfo, prompt: str) -> None:
    warning = Vocabulary.of(info.training).check(prompt)
    if warning is not None:
        warn(warning)


def _check_seed(seed: int) -> None:
    check_seed(seed)
    if seed >= SEEDS_THAT_DIFFER:
        same = seed % SEEDS_THAT_DIFFER
        warn(f"seed {seed} draws what {same} draws: only the low 32 bits count, as in ComfyUI.")


def _encode(models: list[Model], prompt: str, negative: str) -> dict[TextEncoder, torch.Tensor]:
    """What each encoder makes of the two prompts, (2, L, D); one that networks share reads them once."""
    encoders = dict.fromkeys(model.encoder for model in models)
    return {encoder: encoder.encode([prompt, negative]) for encoder in encoders}


def _texts(texts: dict[TextEncoder, torch.Tensor], model: Model) -> dict[str, torch.Tensor]:
    """What a model hears, with and without the prompt: (1, L, D) each."""
    return dict(zip(("text", "negative"), texts[model.encoder].chunk(2), strict=True))


def _given_options(plan: SamplingPlan, given: Given | None, start: Start | None) -> dict:
    """The keywords of `sample_base` for what is given of the clip."""
    if start is not None:
        return {"start": start.clip(plan)}
    if given is None:
        return {}
    condition = given.condition(plan.frames, (plan.height, plan.width))
    heard = {"known": condition, "condition": condition, "negative_condition": condition}
    return heard | {"start": condition.clip}  # as core's samplers start from BuildConditioningMask's latent


def _frames(frames: int | None, default: int, given: Given | None, start: Start | None) -> int:
    """How many frames to make: what is asked for, else what an input video has, else the checkpoint's own."""
    if start is not None:
        most = len(start.frames)
        if frames is not None and frames > most:
            raise ValueError(f"frames must be at most {most}, the input video's; got {frames}.")
        return most if frames is None else frames
    if frames is None and given is not None and given.mode == "inpaint":
        return len(given.images)
    return default if frames is None else frames


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
