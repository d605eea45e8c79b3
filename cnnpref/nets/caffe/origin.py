"""What of a Caffe net determines its images beside the digests of its files and its settings.

Results of before these things were read have keys without them, and stay right where there are
none; where there are, the key is another one.
"""

from __future__ import annotations

from cnnpref.nets.caffe.files.mean import Mean
from cnnpref.nets.caffe.files.schema import PathLike
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.caffe.layers.elementwise import Dropout
from cnnpref.nets.caffe.preprocessing import Scale, stated_in
from cnnpref.nets.caffe.weights import bilinear_layers


def read_from_files(
    prototxt: PathLike, graph: Graph, caffemodel: PathLike | None, mean: Mean, scale: Scale
) -> dict[str, str]:
    """{what: value}; empty for most nets.

    Raises:
        UserError: the caffemodel is needed and damaged.
    """
    stated = stated_in(prototxt, graph).beside(mean, scale)
    layers = [node.layer for node in graph.nodes]
    unscaled = [x.name for x in layers if isinstance(x, Dropout) and x.kept != 1]
    filled = bilinear_layers(graph, caffemodel) if caffemodel else []
    found = {
        "transform_param": str(stated),
        "state": graph.state,
        "scale_train": " ".join(unscaled),
        "bilinear": " ".join(filled),
    }
    return {key: value for key, value in found.items() if value}


def mean_file(prototxt: PathLike, graph: Graph, mean: Mean) -> str | None:
    """The file of a mean that the prototxt names and that counts."""
    stated = stated_in(prototxt, graph).mean if mean is None else None
    return stated if isinstance(stated, str) else None
