"""What modules of libraries say of their images, from Python."""

from __future__ import annotations

import numpy as np
import pytest
from basics import refusal
from libraries import imported
from PIL import Image
from torch import nn

import cnnpref
from cnnpref.images.pictures import Frame
from cnnpref.nets.pytorch.metadata import of_timm, of_weights

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
    assert (net.resize, smaller.resize) == (256, 73)
    assert smaller.space.mean == net.space.mean
    assert smaller.space.scale == pytest.approx([1 / 255] * 3)


def test_a_module_of_timm_says_it() -> None:
    module = imported("timm").create_model("test_resnet")
    net = cnnpref.load_torch(module)
    assert net.input_shape == (3, 160, 160)
    assert net.resize == int(160 / module.pretrained_cfg["crop_pct"])
    assert net.space.mean == pytest.approx([127.5] * 3)
    assert cnnpref.load_torch(module, mean=(0, 0, 0)).space.mean == (0, 0, 0)
    given = cnnpref.load_torch(module, (3, 64, 64))  # as of any module
    assert given.space.mean == (0, 0, 0)


@pytest.mark.parametrize(
    ("weights", "resize"),
    [
        ("ResNet50_Weights.IMAGENET1K_V2", 232),
        ("ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1", 384),
        ("DeepLabV3_ResNet50_Weights.DEFAULT", None),  # nothing is cut off
        ("R3D_18_Weights.DEFAULT", None),  # films
    ],
)
def test_how_photographs_become_images(weights: str, resize: int | None) -> None:
    models = imported("torchvision.models")
    assert of_weights(models.get_weight(weights)).resize == resize


@pytest.mark.parametrize(
    ("told", "resize"),
    [
        ({"crop_pct": 0.875}, 256),
        ({"crop_pct": 0.9, "crop_mode": "squash"}, (248, 248)),
        ({"crop_mode": "border"}, None),
        ({}, 224),
    ],
)
def test_how_timm_says_it(told: dict[str, object], resize: object) -> None:
    of_all = {"input_size": (3, 224, 224), "mean": MEAN, "std": STD}
    assert of_timm({**of_all, **told}).resize == resize


def test_references_are_shown_as_the_weights_want_it() -> None:
    """As torchvision's own transforms do, but for rounding."""
    models = imported("torchvision.models")
    weights = models.SqueezeNet1_1_Weights.DEFAULT
    net = cnnpref.load_torch(models.squeezenet1_1(), weights=weights)
    ramp = np.add.outer(np.arange(300), np.arange(400)) * 255 / 700
    photograph = np.stack([ramp, ramp.T[:300, :300].mean() + 0 * ramp, 255 - ramp], -1)
    photograph = photograph.astype(np.uint8)
    shown = Frame(net.image_size, 3, net.resize).show(photograph)
    wanted = weights.transforms()(Image.fromarray(photograph)).numpy()
    np.testing.assert_allclose(net.space.encode(shown[None])[0], wanted, atol=0.03)
    told = cnnpref.references(net, photograph[None], ["features.0"], top=1)["features.0"]
    same = cnnpref.references(net, shown[None], ["features.0"], top=1, resize=224)["features.0"]
    np.testing.assert_array_equal(told.top.activation, same.top.activation)


def test_others_are_asked() -> None:
    told = refusal(cnnpref.load_torch, nn.Conv2d(3, 4, 3))
    assert told.startswith("Conv2d: the shape of its images is not known; give input_shape=(C, H,")
    told = refusal(cnnpref.load_torch, nn.Conv2d(3, 4, 3), weights="IMAGENET1K_V1")
    assert "weights: got 'IMAGENET1K_V1'; allowed: a member of one of torchvision's" in told
