"""A style as weight patches on a core MODEL: core blends the weights when it places them."""

from __future__ import annotations

import torch
from comfy.weight_adapter.lora import LoRAAdapter

from ....lumiere_core.networks import STUNet
from ....lumiere_core.runtime.notices import warn
from ....lumiere_core.style import Change, Full, LowRank, Style, changed_part, plan_style


def apply_style(model, style: Style, alpha: float):
    """A clone of the MODEL with the style's patches after those it has. Raises ValueError as `plan_style` does."""
    # Not the network's own state: with dynamic memory, core's layers have no weights before they are loaded.
    tensors = STUNet(model.model.diffusion_model.config, device="meta").state_dict()
    plan = plan_style(style, tensors, alpha)
    for note in plan.notes:
        warn(note)
    styled = model.clone()
    if alpha == 0:
        return styled
    for name, change in plan.changes.items():
        keep = 1 - alpha if isinstance(change, Full) else 1.0
        styled.add_patches({_key(name, change, tensors[name]): _patch(change)}, alpha, keep)
    return styled


def _key(name: str, change: Change, tensor: torch.Tensor):
    """Core's name of a tensor, or of its first input channels where the change belongs to these alone."""
    part = changed_part(name, change, tensor)
    key = f"diffusion_model.{name}"
    return key if part is tensor else (key, (1, 0, part.shape[1]))


def _patch(change: Change):
    """A patch that core multiplies with its strength and adds to the weight."""
    if isinstance(change, LowRank):
        return LoRAAdapter(set(), (change.up, change.down, change.scale * change.rank, None, None, None))
    return ("diff", (change.tensor if isinstance(change, Full) else change.delta,))
