"""SDEdit: start from a noised video instead of from noise alone."""

from torch import Tensor


def noised_start(video: Tensor, noise: Tensor, sigma: Tensor | float, from_pure_noise: bool = False) -> Tensor:
    """The x that a run starts from: video + sigma * noise (Meng et al. 2022, "SDEdit").

    video: (B, C, T, H, W) in [-1, 1], zeros for a run without one; noise: same shape, standard normal; sigma: a
    scalar, the first of the run's sigmas, which the strength `denoise` decides.
    from_pure_noise: the run begins at the schedule's largest sigma. Then noise is scaled by sqrt(1 + sigma^2), so
        that the network's own input is exactly unit noise, as in training and in ComfyUI.
    """
    scale = (1 + sigma**2) ** 0.5 if from_pure_noise else sigma
    return (scale * noise).add_(video)
