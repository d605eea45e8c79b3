"""What modules of libraries say of their images, from Python."""

from __future__ import annotations

import pytest
from basics import refusal
from libraries import imported
from torch import nn

import cnnpref

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_weights_of_torchvision_say_it() -> None:
    models = imported("torchvision.models")
    module = models.squeezenet1_1()
    net = cnnpref.load_torch(module, weights=models.SqueezeNet1_1_Weights.DEFAULT)
    assert net.input_shape == (3, 224, 224)
    assert net.space.mean == pytest.approx([255 * each for each in MEAN])
    smaller = cnnpref.load_torch(
        module, (3, 64, 64), std=(1, 1, 1), weights=models.SqueezeNet1_1_Weights.DEFAULT
    )
    assert smaller.input_shape == (3, 64, 64)
    assert smaller.space.mean == net.space.mean
    assert smaller.space.scale == pytest.approx([1 / 255] * 3)


def test_a_module_of_timm_says_it() -> None:
    module = imported("timm").create_model("test_resnet")
    net = cnnpref.load_torch(module)
    assert net.input_shape == (3, 160, 160)
    assert net.space.mean == pytest.approx([127.5] * 3)
    assert cnnpref.load_torch(module, mean=(0, 0, 0)).space.mean == (0, 0, 0)
    given = cnnpref.load_torch(module, (3, 64, 64))  # as of any module
    assert given.space.mean == (0, 0, 0)


def test_others_are_asked() -> None:
    told = refusal(cnnpref.load_torch, nn.Conv2d(3, 4, 3))
    assert told.startswith("Conv2d: the shape of its images is not known; give input_shape=(C, H,")
    told = refusal(cnnpref.load_torch, nn.Conv2d(3, 4, 3), weights="IMAGENET1K_V1")
    assert "weights: got 'IMAGENET1K_V1'; allowed: a member of one of torchvision's" in told
