"""What other nodes patch onto a MODEL: a STUNet honours patches of its blocks, and says which others it cannot."""

from __future__ import annotations

from ....lumiere_core.networks import Skips
from ....lumiere_core.runtime.notices import is_heard, warn
from .notices import clear_notices, noticing

# Of the blocks on the way down and up, which are those of core's U-Nets: PatchModelAddDownscale, FreeU.
BLOCK_PATCHES = ("input_block_patch", "input_block_patch_after_skip", "output_block_patch")
ATTENTION = "a STUNet's attention is over pixels and text at once, not core's"


class PatchedSkips(Skips):
    """Core's patches of a U-Net's blocks, where core's own networks apply them. Frames are a batch of images to them.

    options: transformer_options, as core gives them to a network.
    """

    def __init__(self, options: dict):
        super().__init__()
        self.options, self.patches, self.joined = options, options.get("patches", {}), 0

    def keep(self, x):
        at = {**self.options, "block": ("input", len(self.kept))}
        for patch in self.patches.get("input_block_patch", ()):
            x = patch(x, at)
        x = super().keep(x)
        for patch in self.patches.get("input_block_patch_after_skip", ()):
            x = patch(x, at)
        return x

    def join(self, x):
        at = {**self.options, "block": ("output", self.joined)}
        self.joined += 1
        for patch in self.patches.get("output_block_patch", ()):
            x, self.kept[-1] = patch(x, self.kept[-1], at)
        return super().join(x)


def skips_of(options: dict) -> Skips:
    """The way down and up with what is patched onto it. Raises ValueError for attention that is replaced.

    Guidance that compares with such an attention (self-attention, perturbed-attention, skip-layer guidance) would
    compare the network with itself.
    """
    replaced = sorted(name for name, patches in options.get("patches_replace", {}).items() if patches)
    if replaced:
        raise ValueError(
            f"Lumiere model: {', '.join(replaced)} of the network cannot be replaced: {ATTENTION}. Remove the node "
            "that does it (self-attention, perturbed-attention or skip-layer guidance)."
        )
    return PatchedSkips(options)


def check_patches(patcher) -> None:
    """At the start of a run: say at the node what of the MODEL's patches has no effect."""
    if not is_heard():  # a node of core's: ours have done it
        clear_notices()
    options = patcher.model_options.get("transformer_options", {})
    unheard = sorted(set(options.get("patches", {})) - set(BLOCK_PATCHES))
    unheard += ["optimized_attention_override"] if options.get("optimized_attention_override") else []
    if unheard:
        with noticing("Lumiere model"):
            warn(f"patches without effect here: {', '.join(unheard)}; {ATTENTION}.")
