"""What a network computes of images, under the names that a full pass leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cnnpref.errors import UserError
from cnnpref.nets.net import Net


def blob_values(
    net: Net, images: npt.ArrayLike, names: Sequence[str]
) -> dict[str, npt.NDArray[np.float32]]:
    """The values under some names after a full pass, {name: (N, *shape)}.

    Args:
        net: takes images.
        images: RGB (N, H, W, 3), 0..255, of the size that the net takes.
        names: of blobs, which in-place layers have changed: `conv1` is rectified where its ReLU is
            in place; or of layers, where no blob is called so.

    Raises:
        UserError: an unknown name, or images of another size.
    """
    given, wanted = np.asarray(images, np.float32), (*net.image_size, net.input_shape[0])
    if given.shape[1:] != wanted:
        raise UserError(f"the net {net.name!r} takes images {wanted}, got {given.shape[1:]}")
    with torch.no_grad():
        x = torch.from_numpy(net.space.encode(given)).to(net.device)
        blobs = net.forward({net.input_blob: x}, [n for n in names if n in net.blobs])
        values = {n: blobs[n] if n in blobs else net.activations(x, n) for n in names}
    return {name: value.cpu().numpy() for name, value in values.items()}
