"""A network that also says how much noise a DDPM step should add: channels behind those of the video.

Such predictions, (B, 2C, T, H, W), pass through fusion as they are; what guidance, thresholding and known pixels do is
done to the video alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def on_video(function: Callable[[Tensor], Tensor], prediction: Tensor, channels: int) -> Tensor:
    """The prediction with `function` of its first `channels` in their place; what lies behind them stays."""
    if prediction.shape[1] == channels:
        return function(prediction)
    return torch.cat([function(prediction[:, :channels]), prediction[:, channels:]], dim=1)


def step_deviation(sigma: Tensor, sigma_next: Tensor, said: Tensor) -> Tensor:
    """Standard deviation of a DDPM step's noise in sigma space, (B, C, T, H, W), where the network has its say.

    said: its channels, -1 for the smallest variance that a step can have (Ho et al. 2020, eq. 7) to 1 for the largest,
    interpolated in the logarithm (Nichol & Dhariwal 2021, eq. 15; diffusers' "learned_range").
    """
    share = (said + 1) / 2
    step = sigma**2 - sigma_next**2
    smallest = (step * (sigma_next / sigma) ** 2).log()
    largest = (step * (1 + sigma_next**2) / (1 + sigma**2)).log()
    return ((share * largest + (1 - share) * smallest) / 2).exp()
