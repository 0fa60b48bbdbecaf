"""Weights of which only a part is trained; the rest stays bit-identical, and optimizers never see it."""

from __future__ import annotations

import torch
import torch.nn as nn
from torch.nn.utils import parametrize


class NewColumns(nn.Module):
    """A convolution's weight (out, in, ...) split into its first `old` input channels, frozen, and the others."""

    def __init__(self, old: int):
        super().__init__()
        self.old = old

    def forward(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return torch.cat([old, new], dim=1)

    def right_inverse(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return weight[:, : self.old].clone(), weight[:, self.old :].clone()


def train_new_columns(conv: nn.Conv2d, old: int) -> None:
    """Only the input channels from `old` on stay trainable."""
    parametrize.register_parametrization(conv, "weight", NewColumns(old))
    conv.parametrizations.weight.original0.requires_grad_(False)
    conv.parametrizations.weight.original1.requires_grad_(True)


LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


class LowRankChange(nn.Module):
    """A frozen weight (out, in, ...) plus up @ down, (out, rank) and (rank, in * ...): LoRA (Hu et al. 2021).

    up starts at zero, so that the weight is unchanged at first.
    """

    def __init__(self, weight: torch.Tensor, rank: int):
        super().__init__()
        columns = weight[0].numel()
        rank = min(rank, weight.shape[0], columns)
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.down = nn.Parameter(torch.randn(rank, columns).to(weight) / columns**0.5)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.up @ self.down).reshape(weight.shape)


def train_low_rank(network: nn.Module, rank: int, without: tuple[str, ...] = (), within: str = "") -> None:
    """Freeze the network; every Linear and convolution whose name begins with `within`, but those named in `without`,
    gets a change of this rank to train.
    """
    network.requires_grad_(False)
    for name, module in list(network.named_modules()):
        if isinstance(module, LAYERS) and name.startswith(within) and name not in without:
            parametrize.register_parametrization(module, "weight", LowRankChange(module.weight, rank))


def low_rank_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """The changes as a LoRA whose names core's loader reads, too; alpha is the rank, so that the scale is 1.

    diffusion_model.<module>.lora_down.weight: (rank, in, ...), .lora_up.weight: (out, rank, ...), .alpha: scalar.
    """
    tensors = {}
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            change, name = module.parametrizations.weight[0], f"diffusion_model.{name}"
            rank, kernel = len(change.down), module.weight.shape[2:]
            tensors[f"{name}.lora_down.weight"] = change.down.detach().reshape(rank, *module.weight.shape[1:])
            tensors[f"{name}.lora_up.weight"] = change.up.detach().reshape(-1, rank, *[1] * len(kernel))
            tensors[f"{name}.alpha"] = torch.tensor(float(rank))
    return tensors


def plain_state_dict(module: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict under the names of the module without its parametrizations."""
    state = module.state_dict()
    for name, part in module.named_modules():
        if parametrize.is_parametrized(part):
            for tensor in part.parametrizations:
                prefix = f"{name}.parametrizations.{tensor}."
                state = {key: x for key, x in state.items() if not key.startswith(prefix)}
                state[f"{name}.{tensor}"] = getattr(part, tensor).detach()
    return state
