"""The product that does not care in which company a row is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cnnpref.nets.kernels import linear


def value_and_gradient(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    top = linear(x, weight, bias)
    (gradient,) = torch.autograd.grad(top.square().sum(), x)
    return top.detach(), gradient


@pytest.mark.parametrize("inputs", [1, 2, 7, 9, 16, 49, 432])
@pytest.mark.parametrize("outputs", [1, 3, 8, 16, 100])
def test_rows_of_a_product_are_the_same_alone_and_in_any_order(inputs: int, outputs: int) -> None:
    random = torch.Generator().manual_seed(inputs)
    weight, bias = torch.randn(outputs, inputs, generator=random), torch.ones(outputs)
    x = torch.randn(20, inputs, generator=random)
    top, gradient = value_and_gradient(x, weight, bias)
    torch.testing.assert_close(top, x @ weight.T + bias, rtol=1e-5, atol=1e-4)
    for rows in ([3], [7, 2], [19, 0, 5], list(range(19, -1, -1)), list(range(1, 18))):
        some, slopes = value_and_gradient(x[rows], weight, bias)
        assert torch.equal(some, top[rows])
        assert torch.equal(slopes, gradient[rows])
