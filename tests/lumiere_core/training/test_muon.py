"""Muon's orthogonal steps against the iterations as they are written, in float64."""

import pytest
import torch

from lumiere_video.lumiere_core.training.muon import COEFFICIENTS, ITERATIONS, orthogonal


def newton_schulz(matrix: torch.Tensor) -> torch.Tensor:
    x = matrix.double()
    x = x / x.norm()
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (24, 24)])
def test_products_on_the_short_side_are_the_iterations(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wide = shape[0] <= shape[1]
    expected = newton_schulz(matrix if wide else matrix.T)
    assert torch.allclose(orthogonal(matrix).double(), expected if wide else expected.T, atol=1e-4)


def test_all_directions_come_out_about_as_long():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(32, 200, generator=generator) * torch.linspace(0.02, 1, 32)[:, None]
    lengths = torch.linalg.svdvals(orthogonal(matrix))
    assert 0.65 < lengths.min() and lengths.max() < 1.25


def test_zeros_stay_zeros():
    assert not orthogonal(torch.zeros(3, 5)).any()
