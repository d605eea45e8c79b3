"""Small valid nets with many of Caffe's layers, in the formats of all times."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from prototxts import INPUT, layer, pool

from cnnpref.nets.caffe.files.caffemodel import stored_layers
from cnnpref.nets.caffe.files.schema import SCHEMA

CONVOLUTION = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"
UP = "convolution_param {{ kernel_size: 4 stride: 2 {} }}"
TINY = (
    INPUT
    + layer("conv1", "Convolution", "data", "convolution_param { num_output: 6 kernel_size: 3 }")
    + layer("relu1", "ReLU", "conv1", "relu_param { negative_slope: 0.1 }")
    + layer("fc", "InnerProduct", "relu1", "inner_product_param { num_output: 5 }")
)
MANY = (
    INPUT
    + layer("conv1", "Convolution", "data", CONVOLUTION.replace("pad: 1", "pad: 1 dilation: 1"))
    + layer("bn", "BatchNorm", "conv1", "batch_norm_param { eps: 1e-5 }")
    + layer("scale", "Scale", "bn", "scale_param { bias_term: true }")
    + layer("elu", "ELU", "scale", "elu_param { alpha: 0.5 }")
    + layer("norm", "LRN", "elu", "lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 }")
    + pool("norm")
    + layer("part", "Slice", "conv1", "slice_param { axis: 1 slice_point: 1 }").replace(
        'top: "part"', 'top: "one" top: "three"'
    )
    + layer("both", "Concat", ["one", "three"], "concat_param { axis: 1 }")
    + layer(
        "sum", "Eltwise", ["both", "conv1"], "eltwise_param { operation: SUM coeff: 1 coeff: 2 }"
    )
    + layer(
        "up",
        "Deconvolution",
        "pool",
        "convolution_param { num_output: 2 kernel_size: 4 stride: 2 }",
    )
    + layer("power", "Power", "up", "power_param { power: 2 scale: 0.5 shift: 1 }")
    + layer("tile", "Tile", "power", "tile_param { axis: 1 tiles: 3 }")
    + layer("shape", "Reshape", "tile", "reshape_param { shape { dim: 0 dim: -1 dim: 2 } }")
    + layer("flat", "Flatten", "shape", "flatten_param { axis: 1 end_axis: -1 }")
    + layer("fc", "InnerProduct", "flat", "inner_product_param { num_output: 5 axis: 1 }")
    + layer("mean", "Reduction", "sum", "reduction_param { operation: MEAN axis: 2 }")
    + layer("prob", "Softmax", "fc", "softmax_param { axis: 1 }")
)
CROP = (
    INPUT
    + layer(
        "up",
        "Deconvolution",
        "data",
        UP.format("num_output: 3 group: 3 bias_term: false weight_filler { type: 'bilinear' }"),
    )
    + layer("crop", "Crop", ["up", "data"], "crop_param { axis: 2 offset: 1 offset: 2 }")
    + layer("prelu", "PReLU", "crop", "prelu_param { channel_shared: false }")
    + layer("spp", "SPP", "prelu", "spp_param { pyramid_height: 2 pool: MAX }")
    + layer("drop", "Dropout", "spp", "dropout_param { dropout_ratio: 0.4 }")
    + layer("bias", "Bias", "drop", "bias_param { axis: 1 }")
)
V1 = (
    INPUT
    + """
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" include { phase: TEST } }
layers { name: "pool1" type: POOLING bottom: "conv1" top: "pool1"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "pool1" top: "fc"
  inner_product_param { num_output: 5 } }
"""
)
V0 = (
    INPUT.replace(
        "input_shape { dim: 1 dim: 3 dim: 8 dim: 9 }",
        "input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9",
    )
    + """
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 1
    weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0.5 }
    blobs_lr: 1. } bottom: "pad1" top: "conv1" }
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "conv1"
    top: "pool1" }
layers { layer { name: "fc" type: "innerproduct" num_output: 2 biasterm: false } bottom: "pool1"
    top: "fc" }
"""
)
GENERATOR = (
    'name: "maker"\ninput: "feat"\ninput_shape { dim: 1 dim: 6 }\n'
    + layer("draw", "InnerProduct", "feat", "inner_product_param { num_output: 48 }")
    + layer("map", "Reshape", "draw", "reshape_param { shape { dim: 0 dim: 3 dim: 4 dim: 4 } }")
    + layer(
        "grow",
        "Deconvolution",
        "map",
        "convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 }",
    )
    + layer("tanh", "TanH", "grow")
)


def save_v0(path: Path) -> None:
    """Weights of the net V0, as they were stored then."""
    net, random = SCHEMA["NetParameter"](), np.random.default_rng(0)
    for name, shapes in {"conv1": [(4, 3, 3, 3), (1, 1, 1, 4)], "fc": [(1, 1, 2, 24)]}.items():
        old = net.layers.add().layer
        old.name = name
        for shape in shapes:
            values = random.normal(size=shape).astype("<f4")
            sizes = dict(zip(("num", "channels", "height", "width"), shape, strict=True))
            old.blobs.add(data=[values.tobytes()], **sizes)
    path.write_bytes(net.SerializeToString())


def to_hdf5(path: Path) -> None:
    """A caffemodel as Caffe writes it with `snapshot_format: HDF5`, in place."""
    layers = {name: [blob.array() for blob in blobs] for name, blobs in stored_layers(path).items()}
    with h5py.File(path, "w") as file:
        for name, arrays in layers.items():
            for number, array in enumerate(arrays):
                file[f"data/{name}/{number}"] = array
