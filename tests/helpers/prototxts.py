"""What tests of Caffe's files share: tiny prototxts, and a schema that is not the project's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import basics
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from cnnpref.nets.caffe import CaffeNet, load_caffe

INPUT = 'name: "made"\ninput: "data"\ninput_shape { dim: 1 dim: 3 dim: 8 dim: 9 }\n'


def layer(name: str, kind: str, bottoms: str | Sequence[str], parameters: str = "") -> str:
    """One line: a layer with one top of its own name; `bottoms` is one name or several."""
    bottoms = [bottoms] if isinstance(bottoms, str) else bottoms
    fields = [f'name: "{name}" type: "{kind}" top: "{name}"', *(f'bottom: "{b}"' for b in bottoms)]
    return f"layer {{ {' '.join(fields)} {parameters} }}\n"


def pool(bottom: str, name: str = "pool", parameters: str = "kernel_size: 3 stride: 2") -> str:
    """One line: a pooling, of maxima unless the parameters say otherwise."""
    return layer(name, "Pooling", bottom, f"pooling_param {{ {parameters} }}")


def load(text: str, **arguments: Any) -> CaffeNet:
    """`load_caffe` of a prototxt given as text."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")
        path.write_text(text)
        return load_caffe(path, **arguments)


def refusal(text: str, **arguments: Any) -> str:
    """The one line with which a prototxt given as text is refused."""
    return basics.refusal(load, text, **arguments)


# Of Caffe's schema what a caffemodel needs, as Caffe declares it.
_SCHEMA = """
name: "caffemodel.proto" package: "independent"
message_type { name: "BlobShape"
  field { name: "dim" number: 1 label: LABEL_REPEATED type: TYPE_INT64 options { packed: true } } }
message_type { name: "BlobProto"
  field { name: "num" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "channels" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "height" number: 3 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "width" number: 4 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "data" number: 5 label: LABEL_REPEATED type: TYPE_FLOAT options { packed: true } }
  field { name: "shape" number: 7 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "BlobShape" }
  field { name: "double_data" number: 8 label: LABEL_REPEATED type: TYPE_DOUBLE
    options { packed: true } } }
message_type { name: "LayerParameter"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "type" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "blobs" number: 7 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: "BlobProto" } }
message_type { name: "V1LayerParameter"
  field { name: "name" number: 4 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "type" number: 5 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "blobs" number: 6 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: "BlobProto" } }
message_type { name: "NetParameter"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "layers" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: "V1LayerParameter" }
  field { name: "layer" number: 100 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: "LayerParameter" } }
"""


def caffemodel(packed: bool = True) -> Any:
    """An empty NetParameter of that schema; numbers are written one by one unless `packed`."""
    file = descriptor_pb2.FileDescriptorProto()
    text_format.Parse(_SCHEMA.replace("packed: true", f"packed: {str(packed).lower()}"), file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("independent.NetParameter"))()
