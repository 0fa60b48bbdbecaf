"""Muon (Jordan et al. 2024): momentum, made orthogonal, is the step of a matrix.

torch.optim.Muon computes in bfloat16, which processors without bfloat16 units only imitate: there a step of the bundled
networks took 6 s of 10. This is the same in float32, and asks two products with the long side of a matrix, not ten.
"""

from __future__ import annotations

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose slope at zero is steep
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """As torch.optim.Muon with Nesterov momentum and adjust_lr_fn="match_rms_adamw", and with its state."""

    def __init__(self, params, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for matrix in group["params"]:
                self._step(matrix, group["lr"], group["weight_decay"], group["momentum"])

    def _step(self, matrix, lr: float, weight_decay: float, momentum: float) -> None:
        average = self.state[matrix].setdefault("momentum_buffer", torch.zeros_like(matrix))
        average.lerp_(matrix.grad, 1 - momentum)
        direction = orthogonal(matrix.grad.lerp(average, momentum))
        matrix.mul_(1 - lr * weight_decay)
        matrix.add_(direction, alpha=-0.2 * lr * max(matrix.shape) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """About U V^T of matrix = U S V^T: singular values between 0.7 and 1.2 (those near zero excepted), in float32.

    Newton-Schulz iterations X <- (a + b X X^T + c (X X^T)^2) X are polynomials in the first X X^T: they are multiplied
    out on the short side, and meet X once.
    """
    x = matrix.float()
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    gram, identity = x @ x.T, torch.eye(x.shape[0], device=x.device)
    product = identity
    for _ in range(ITERATIONS):
        factor = a * identity + b * gram + c * gram @ gram
        product, gram = factor @ product, factor @ gram @ factor
    x = product @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)
