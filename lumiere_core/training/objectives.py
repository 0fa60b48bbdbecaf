"""What each stage trains and on what loss. An objective is an nn.Module whose forward turns a batch into the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..checkpoints.format import CheckpointInfo
from ..conditioning.given import CONDITION_CHANNELS, condition_channels, hears_condition, join_condition
from ..conditioning.low_res import condition_low_res
from ..conditioning.text import TextEncoder, build_text_encoder, text_info, text_tensors
from ..diffusion.denoiser import add_noise, training_target
from ..diffusion.options import KNOBS, SamplingOptions
from ..networks import STUNet, TemporalConfig, UNetConfig, freeze_spatial, inflate, text_to_image, widen_input
from ..networks.inflation import TEMPORAL_PREFIX
from .batches import trained_spans
from .parametrize import low_rank_tensors, plain_state_dict, train_low_rank, train_new_columns
from .recipe import SSR_KINDS, Stage
from .source import ANY, Variety

START_KINDS = ("t2i", "base", "ssr")  # of checkpoints that a stage can start from


class TextObjective(nn.Module):
    """Stage 0: a tiny T5 learns to keep every word separable: linear heads read all that captions say off its output.

    The heads see the mean over tokens, and one token at random, so that both pooled and cross-attended text carry
    the whole scene. They are thrown away; the encoder is frozen from then on, as T5 is in Imagen.
    """

    def __init__(self, stage: Stage, label_classes: Mapping[str, Sequence[str]]):
        super().__init__()
        config = dict(stage.network)
        self.max_tokens = config.pop("max_tokens")
        self.config = config
        self.encoder = build_text_encoder(config, self.max_tokens)
        self.t5 = self.encoder.model.train()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(config["d_model"], len(classes)) for name, classes in label_classes.items()}
        )

    def forward(self, batch):
        tokens = self.t5(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state
        token = tokens[torch.arange(len(tokens)), batch["token"]]
        return sum(self._loss(features, batch["labels"]) for features in (tokens.mean(dim=1), token))

    def _loss(self, features, labels):
        losses = [F.cross_entropy(head(features), labels[:, i]) for i, head in enumerate(self.heads.values())]
        return sum(losses) / len(losses)

    @torch.no_grad()
    def accuracy(self, batch) -> dict[str, float]:
        """Share of captions whose attribute a linear head reads correctly off the mean token, per attribute."""
        features = self.t5(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state.mean(dim=1)
        return {
            name: (head(features).argmax(-1) == batch["labels"][:, i]).float().mean().item()
            for i, (name, head) in enumerate(self.heads.items())
        }

    def export(self, training: dict) -> tuple[dict, CheckpointInfo]:
        return text_tensors(self.encoder), text_info(self.config, self.max_tokens, training)


class DiffusionObjective(nn.Module):
    """Stages a, b, c: mean squared error of the network's prediction on noised clips, text from the frozen encoder or,
    where there is none, from the batch.
    """

    def __init__(
        self,
        stage: Stage,
        network: STUNet,
        encoder: TextEncoder | None,
        text_file: str,
        fps: float,
        variety: Variety = ANY,
    ):
        super().__init__()
        self.stage, self.network, self.text_file, self.fps, self.variety = stage, network, text_file, fps, variety
        self.t5 = None
        if encoder is not None:
            require_fit(stage, network, encoder.dim)
            self.t5 = encoder.model.eval().requires_grad_(False)
        self.prediction = stage.info.get("prediction", "v")
        if stage.kind in ("base", "ssr"):
            freeze_spatial(network)
        if stage.tasks and stage.kind == "base":
            train_new_columns(network.conv_in, 3 * network.config.patch**2)
        if stage.kind == "style":
            # Not the first layer: nets that hear <J, C, M> have a wider one, and core's LoRA loader cannot widen.
            train_low_rank(network, stage.network["rank"], without=("conv_in",))
        if stage.kind == "motion":
            train_low_rank(network, stage.network["rank"], within=TEMPORAL_PREFIX)

    def train(self, mode: bool = True):
        """The text encoder stays in eval mode: frozen, and without dropout."""
        super().train(mode)
        if self.t5 is not None:
            self.t5.eval()
        return self

    def forward(self, batch):
        text = self.heard(batch)
        sigmas = self.stage.schedule.sigmas.to(text.device)
        sigma = sigmas[batch["timesteps"]]
        x = add_noise(batch["video"], batch["noise"], sigma)
        extra, low_res = {}, None
        if "low_res" in batch:
            low_res = condition_low_res(
                batch["low_res"],
                batch["low_res_noise"],
                batch["noise_level"],
                self.stage.schedule,
                self.stage.scale,
                self.stage.align_corners,
            )
            x, extra = torch.cat([x, low_res], dim=1), {"noise_level": batch["noise_level"]}
        target = training_target(batch["video"], batch["noise"], sigma, self.prediction, low_res)
        if "change_mask" in batch:
            x = join_condition(x, condition_channels(batch["video"], batch["change_mask"]))
        error = F.mse_loss(self.network(x, batch["timesteps"].float(), text, **extra).float(), target, reduction="none")
        if self.stage.min_snr is not None:
            error = error * min_snr_weight(sigma, self.stage.min_snr).view(-1, 1, 1, 1, 1)
        return error.mean()

    @torch.no_grad()
    def heard(self, batch) -> torch.Tensor:
        """The captions (B, L, D), which the batch has where there is no text encoder."""
        if self.t5 is None:
            return batch["text"]
        return self.t5(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state

    def export(self, training: dict) -> tuple[dict, CheckpointInfo]:
        stage = self.stage
        kind = checkpoint_kind(stage)
        frames, sides = (
            trained_spans(stage, self.variety) if kind in ("t2i", "base") else (None, None)
        )  # an SSR sees windows, tiles
        defaults = SamplingOptions(**{name: value for name, value in stage.info.items() if name in KNOBS})
        info = CheckpointInfo(
            kind=kind,
            config=self.network.config.to_dict(),
            schedule=stage.schedule,
            fps=self.fps,
            frames=stage.phases[-1].excerpt_of or stage.phases[-1].frames,
            size=stage.size,
            scale=stage.scale if kind == "ssr" else 1,
            align_corners=stage.align_corners,
            text_encoder=self.text_file,
            training=training,
            sampling=defaults.over(CheckpointInfo.sampling),
            prediction=self.prediction,
            thresholding=stage.info.get("thresholding"),
            trained_frames=frames,
            trained_sides=sides,
        )
        if stage.kind == "motion":
            info = replace(info, training={**info.training, "half": "temporal"})
        if kind == "style":  # half precision: it is a file to give away, and no stage starts from it
            tensors = {name: tensor.half() for name, tensor in low_rank_tensors(self.network).items()}
            return tensors, replace(info, training={**info.training, "rank": stage.network["rank"]})
        return plain_state_dict(self.network), info


def checkpoint_kind(stage: Stage) -> str:
    """The kind of checkpoint that a stage ends in."""
    return {"ssr_image": "ssr", "motion": "style"}.get(stage.kind, stage.kind)


def require_fit(stage: Stage, network: STUNet, text_dim: int) -> None:
    """Raise ValueError for a network that takes or gives something else than the stage's clips and text.

    text_dim: width of the text encoder.
    """
    is_ssr = stage.kind in SSR_KINDS
    in_channels = 6 if is_ssr else 3 + CONDITION_CHANNELS if stage.tasks else 3
    for name, needed, why in (
        ("text_dim", text_dim, "the text encoder's width"),
        ("in_channels", in_channels, "what it sees of a clip"),
        ("out_channels", 3, "as no other networks are trained here"),
        ("noise_level_embedding", is_ssr, "which super-resolution has, and only that"),
    ):
        got = getattr(network.config, name)
        if got != needed:
            raise ValueError(f"recipe: stage {stage.name!r} must have {name} = {needed}, {why}; got {got}.")


def build_network(stage: Stage, start: STUNet | None) -> STUNet:
    """The network a stage trains: a fresh U-Net, a copy of `start`, or `start` inflated, with a wider input, or as the
    text-to-image net that it was once grown from.
    """
    if stage.kind == "style":
        return text_to_image(start)
    if stage.kind == "motion":
        return _video_network(stage, start)
    if stage.kind in ("base", "ssr"):
        if start.config.temporal is None:
            start = inflate(start, temporal_config(stage.network, len(start.config.levels)))
        if hears_condition(start.config.in_channels) and not stage.tasks:
            raise ValueError(
                f"recipe: stage {stage.name!r} starts from a conditional network; it needs the masks, 'tasks'."
            )
        return widen_input(start, 3 + CONDITION_CHANNELS) if stage.tasks else start
    if start is not None:
        return start
    fields = dict(stage.network)
    levels = zip(fields.pop("channels"), fields.pop("attention"), strict=True)
    layers = fields.pop("layers", 1)
    levels = [{"channels": c, "layers": layers, "attention": a} for c, a in levels]
    return STUNet(UNetConfig.from_dict({"levels": levels, **fields}))


def _video_network(stage: Stage, start: STUNet) -> STUNet:
    if start.config.temporal is None:
        raise ValueError("a motion is learned by the temporal half, and it starts from a network without one.")
    if hears_condition(start.config.in_channels) and not stage.tasks:
        raise ValueError("it starts from a conditional network; it needs the masks, 'tasks'.")
    return start


def temporal_config(fields: dict, levels: int) -> TemporalConfig:
    """Conv inflation everywhere but at the coarsest level (paper); `halve` says where the frame count is halved."""
    fields = dict(fields)
    halve = fields.pop("halve", True)
    finer = [{"kind": "conv", "halve": halve}] * (levels - 1)
    return TemporalConfig.from_dict({"levels": [*finer, {"kind": "attention"}], **fields})


def min_snr_weight(sigma: torch.Tensor, gamma: float) -> torch.Tensor:
    """Weight of the squared error in v: min(SNR, gamma) / (SNR + 1) (Hang et al. 2023), for sigma (B,)."""
    snr = sigma**-2
    return snr.clamp(max=gamma) / (snr + 1)


def trainable(objective: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in objective.named_parameters() if p.requires_grad}
