"""Units on any axis of a layer: channels last, features of tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnpref


class Tokens(nn.Module):
    """A map with its channels last, then tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 5, 4, 4), nn.LayerNorm(5), nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        last = self.norm(self.conv(x).movedim(1, -1))
        return self.fc(last.flatten(1, 2)).mean(1)


@pytest.fixture(scope="module")
def net() -> cnnpref.Net:
    torch.manual_seed(0)
    return cnnpref.load_torch(Tokens(), (3, 12, 8))


@pytest.mark.parametrize(("layer", "units"), [("conv", 5), ("norm", 5), ("fc", 7)])
def test_rows_are_units(net: cnnpref.Net, layer: str, units: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 12, 8, 3), dtype=np.uint8)
    told = cnnpref.references(net, images, [layer], top=1)[layer]
    where = net.unit_map(layer)
    assert told.shape == (where.count, *where.sizes)
    assert told.shape[0] == units
    place = [int(name.removeprefix("images[").removesuffix("]")) for name in told.images]
    with torch.no_grad():
        values = net.activations(torch.from_numpy(net.space.encode(images[place])), layer)
    values = values.movedim(1 + where.axis, 1)
    np.testing.assert_allclose(told.top.activation[:, 0], values.flatten(2).amax((0, 2)), rtol=1e-4)
    assert told.top.box is not None
    for (y, x), box in zip(told.top.position[:, 0], told.top.box[:, 0], strict=True):
        position = (int(y), int(x)) if len(where.sizes) == 2 else (int(x),)
        assert tuple(box) == net.receptive_field(layer, position)
