"""The optimizer of a stage: AdamW, or Muon for matrices beside AdamW for the rest; its state by parameter name."""

from __future__ import annotations

import torch
import torch.nn as nn

from .muon import Muon

BETAS = (0.9, 0.99)
ADAMW_MOMENTS, MUON_MOMENTS = ("exp_avg", "exp_avg_sq"), ("momentum_buffer",)
ENDS = ("conv_in", "conv_out", "shared", "embed_tokens")  # first and last layers: no matrices between features


class NamedOptimizer:
    """kind: adamw or muon (Jordan et al. 2024, with AdamW's step size; convolutions flattened).

    parameters: by name, of a network in its final memory format: Muon's matrices are views of them.
    """

    def __init__(self, kind: str, parameters: dict[str, nn.Parameter], weight_decay: float):
        matrices = {name: p for name, p in parameters.items() if kind == "muon" and _is_matrix(name, p)}
        self.matrices = {name: (p, nn.Parameter(as_matrix(p.data))) for name, p in matrices.items()}
        self.vectors = {name: p for name, p in parameters.items() if name not in matrices}
        self.parts: list[torch.optim.Optimizer] = []
        if self.vectors:
            self.parts.append(torch.optim.AdamW(self.vectors.values(), betas=BETAS, weight_decay=weight_decay))
        if self.matrices:
            views = [view for _, view in self.matrices.values()]
            self.parts.append(Muon(views, weight_decay=weight_decay))

    def step(self, learning_rate: float) -> None:
        """One step from the parameters' gradients, which are dropped."""
        for parameter, view in self.matrices.values():
            view.grad = as_matrix(parameter.grad.to(memory_format=_format(parameter)))
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
        for parameter in (*self.vectors.values(), *(p for pair in self.matrices.values() for p in pair)):
            parameter.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """<moment>.<parameter> -> tensor."""
        return {
            f"{key}.{name}": value
            for name, parameter, part in self._named()
            for key, value in part.state[parameter].items()
            if key != "step"
        }

    def state_shapes(self) -> dict[str, torch.Size]:
        """The shapes of `state` after a step."""
        return {
            f"{moment}.{name}": parameter.shape
            for name, parameter, part in self._named()
            for moment in (ADAMW_MOMENTS if isinstance(part, torch.optim.AdamW) else MUON_MOMENTS)
        }

    def load_state(self, state: dict[str, torch.Tensor], step: int) -> None:
        for name, parameter, part in self._named():
            moments = {
                key.removesuffix(f".{name}"): torch.empty_like(parameter).copy_(value)
                for key, value in state.items()
                if key.partition(".")[2] == name
            }
            count = {"step": torch.tensor(float(step))} if isinstance(part, torch.optim.AdamW) else {}
            part.state[parameter] = {**count, **moments}

    def _named(self):
        """(name, the tensor that its optimizer knows, that optimizer)."""
        for name, parameter in self.vectors.items():
            yield name, parameter, self.parts[0]
        for name, (_, view) in self.matrices.items():
            yield name, view, self.parts[-1]


def as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    """(out, ...) as (out, N), sharing memory; the order of columns follows the memory format."""
    if tensor.ndim == 4 and not tensor.is_contiguous():
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.view(tensor.shape[0], -1)


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    rows, columns = parameter.shape[0], parameter[0].numel() if parameter.ndim > 1 else 0
    return min(rows, columns) > 1 and not any(end in name for end in ENDS)


def _format(parameter: torch.Tensor) -> torch.memory_format:
    contiguous = parameter.is_contiguous() or parameter.ndim != 4
    return torch.contiguous_format if contiguous else torch.channels_last
