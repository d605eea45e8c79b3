"""Caffe's files: what is read, what is written, and what is said of those that are wrong."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from basics import noise
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from prototxts import INPUT, caffemodel, layer, load, refusal

from cnnpref.errors import UserError
from cnnpref.nets import caffe
from cnnpref.nets.caffe import save_caffemodel, write_caffemodel
from cnnpref.nets.caffe.files.caffemodel import stored_layers

FC = INPUT + layer("fc", "InnerProduct", "data", "inner_product_param { num_output: 2 }")
SMALL = (  # its caffemodel has about 100 bytes
    INPUT
    + layer("plus", "Bias", "data")
    + layer("slope", "PReLU", "plus", "prelu_param { channel_shared: true }")
)
SMALL_WEIGHTS: list[Any] = [("plus", "Bias", [[1, 2, 3]]), ("slope", "PReLU", [0.5])]


weights = arrays(np.float32, array_shapes(min_dims=0, max_dims=5, max_side=3))
layers = st.dictionaries(st.text(min_size=1), st.lists(weights, max_size=3), max_size=4)


@settings(deadline=None)
@given(layers.filter(bool))
@example({"fire/expand3x3": [np.float32(1.5)], "réseau\n": [np.zeros((2, 1, 1))], "": []})
def test_written_weights_are_read_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, list[npt.NDArray[np.float32]]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.caffemodel"
    write_caffemodel(path, "net", [(name, "Type", blobs) for name, blobs in given.items()])
    read = {name: [b.array() for b in blobs] for name, blobs in stored_layers(path).items()}
    assert list(read) == list(given)
    for name, blobs in given.items():
        assert [b.shape for b in read[name]] == [b.shape for b in blobs]
        assert [b.tobytes() for b in read[name]] == [np.float32(b).tobytes() for b in blobs]


def test_a_saved_net_is_the_same_net(tmp_path: Path) -> None:
    text = SMALL + layer("fc", "InnerProduct", "slope", "inner_product_param { num_output: 4 }")
    net = load(text)
    random = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.normal_(generator=random)
    save_caffemodel(net, tmp_path / "net.caffemodel")
    again = load(text, caffemodel=tmp_path / "net.caffemodel")
    for before, after in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(before, after)
    assert [p.name for p in tmp_path.iterdir()] == ["net.caffemodel"]


def test_a_written_caffemodel_is_one_to_caffes_schema(tmp_path: Path) -> None:
    kernel, bias = noise(4, 3, 2, 2).numpy(), noise(4).numpy()
    layers = [("a/b", "Convolution", [kernel, bias]), ("p", "PReLU", [np.float32(0.25)])]
    write_caffemodel(tmp_path / "net.caffemodel", "made", layers)
    net = caffemodel()
    net.ParseFromString((tmp_path / "net.caffemodel").read_bytes())
    assert (net.name, [(x.name, x.type) for x in net.layer]) == (
        "made",
        [("a/b", "Convolution"), ("p", "PReLU")],
    )
    blobs = [*net.layer[0].blobs, *net.layer[1].blobs]
    assert [list(b.shape.dim) for b in blobs] == [[4, 3, 2, 2], [4], []]
    np.testing.assert_array_equal(blobs[0].data, kernel.ravel())
    np.testing.assert_array_equal(blobs[1].data, bias)
    assert list(blobs[2].data) == [0.25]


@pytest.mark.parametrize("values", ["data", "double_data"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("shape", ["shape", "legacy"])
@pytest.mark.parametrize("layers", ["layer", "layers"])
def test_every_encoding_of_weights_is_read(
    tmp_path: Path, layers: str, shape: str, packed: bool, values: str
) -> None:
    net = caffemodel(packed)
    entry = getattr(net, layers).add(name="fc", type=14 if layers == "layers" else "InnerProduct")
    wanted = [noise(2, 3 * 8 * 9).numpy(), noise(2).numpy()]
    for array in wanted:
        blob = entry.blobs.add()
        getattr(blob, values).extend(array.ravel().tolist())
        if shape == "shape":
            blob.shape.dim.extend(array.shape)
        else:
            blob.num, blob.channels, blob.height, blob.width = (1, 1, 1, 1, *array.shape)[-4:]
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    for got, want in zip(load(FC, caffemodel=path).parameters(), wanted, strict=True):
        np.testing.assert_array_equal(got.numpy(), want)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.caffemodel"
    write_caffemodel(path, "small", SMALL_WEIGHTS)
    return path


def outcome(path: Path) -> str:
    """What comes of loading the small net with a damaged caffemodel; warnings are allowed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            load(SMALL, caffemodel=path)
        except UserError as error:
            return "refused" if "\n" not in str(error) else "refused in several lines"
    assert all(w.category is UserWarning for w in caught)
    return "warned" if caught else "loaded"


def test_no_cut_of_a_caffemodel_goes_unnoticed(small: Path, tmp_path: Path) -> None:
    content, path = small.read_bytes(), tmp_path / "cut.caffemodel"
    outcomes = []
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        outcomes.append(outcome(path))
    assert outcomes[-1] == "loaded"
    assert outcomes.count("warned") == 1  # cut between its two layers
    assert outcomes.count("refused") == len(content) - 1


@settings(deadline=None)
@given(st.data())
def test_no_damage_to_a_caffemodel_ends_in_a_traceback(small: Path, data: st.DataObject) -> None:
    content = bytearray(small.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = small.with_name("damaged.caffemodel")
    damaged.write_bytes(content)
    assert outcome(damaged) in ("refused", "warned", "loaded")


def test_names_that_are_not_unicode_are_told(small: Path, tmp_path: Path) -> None:
    content = small.read_bytes().replace(b"plus", b"pl\xffs").replace(b"slope", b"\xfflope")
    (tmp_path / "odd.caffemodel").write_bytes(content)
    told = refusal(SMALL, caffemodel=tmp_path / "odd.caffemodel")
    assert "it holds 'pl\ufffds', '\ufffdlope', the net wants 'plus', 'slope'" in told


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_no_caffemodel(small: Path, content: bytes) -> None:
    path = small.with_name("arbitrary.caffemodel")
    path.write_bytes(content)
    assert outcome(path) == "refused"


def test_a_text_file_is_no_caffemodel(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(FC)
    assert refusal(FC, caffemodel=path).startswith(f"{path}: truncated or not a caffemodel")


def test_a_missing_caffemodel_is_named(tmp_path: Path) -> None:
    told = refusal(FC, caffemodel=tmp_path / "absent.caffemodel")
    assert told == f"{tmp_path}/absent.caffemodel: cannot be read: No such file or directory"


def stored(path: Path, *blobs: npt.ArrayLike, name: str = "fc") -> Path:
    write_caffemodel(path / "net.caffemodel", "net", [(name, "InnerProduct", blobs)])
    return path / "net.caffemodel"


@pytest.mark.parametrize("shapes", [[], [(2, 216)], [(2, 216), (2,), (2,)]])
def test_a_wrong_number_of_weight_blobs_is_refused(
    tmp_path: Path, shapes: list[tuple[int, ...]]
) -> None:
    told = refusal(FC, caffemodel=stored(tmp_path, *map(np.zeros, shapes)))
    wanted = f"layer 'fc' (InnerProduct) holds {len(shapes)} weight blobs, the prototxt asks for 2"
    assert told.endswith(wanted)


def test_weights_for_a_layer_that_takes_none_are_refused(tmp_path: Path) -> None:
    model = stored(tmp_path, np.zeros(3), name="r")
    told = refusal(FC + layer("r", "ReLU", "fc"), caffemodel=model)
    assert told.endswith("layer 'r' (ReLU) holds 1 weight blobs, the prototxt asks for 0")


def test_a_weight_blob_of_another_shape_is_refused(tmp_path: Path) -> None:
    told = refusal(FC, caffemodel=stored(tmp_path, np.zeros((2, 215)), np.zeros(2)))
    assert "layer 'fc' (InnerProduct): weight blob 0 has shape [2, 215]" in told
    assert "[2, 216] in the prototxt" in told


def test_a_caffemodel_of_another_net_is_refused(tmp_path: Path) -> None:
    told = refusal(FC, caffemodel=stored(tmp_path, np.zeros(2), name="ip1"))
    assert "no layer has the name of one of the net 'made'" in told
    assert "it holds 'ip1', the net wants 'fc'" in told


def test_layers_without_weights_are_warned_of(tmp_path: Path) -> None:
    write_caffemodel(tmp_path / "half.caffemodel", "half", SMALL_WEIGHTS[:1])
    with pytest.warns(UserWarning, match="has no weights for slope: they keep their fillers"):
        net = load(SMALL, caffemodel=tmp_path / "half.caffemodel")
    assert [w.tolist() for w in net.parameters()] == [[1, 2, 3], 0.25]


def test_the_compiled_schema_is_that_of_its_source(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc", reason="no protobuf compiler is installed")
    source = Path(caffe.__file__).parent / "files"
    target = tmp_path / "caffe.binpb"
    assert protoc.main(["", f"-I{source}", f"--descriptor_set_out={target}", "caffe.proto"]) == 0
    compiled, kept = (
        FileDescriptorSet.FromString(f.read_bytes()) for f in (target, source / "caffe.binpb")
    )
    compiled.file[0].name = kept.file[0].name  # depends on the folder it was compiled in
    assert compiled == kept
