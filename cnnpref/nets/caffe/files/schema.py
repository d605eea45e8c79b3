"""Caffe's schema: `caffe.proto` (compiled: `caffe.binpb`) as protobuf classes."""

from __future__ import annotations

import os
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PathLike = str | os.PathLike[str]
Message = Any  # protobuf classes made at run time have no static type


def _load_schema() -> dict[str, Message]:
    described = descriptor_pb2.FileDescriptorSet()
    described.ParseFromString(files(__package__).joinpath("caffe.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()  # of our own: a real Caffe may be in this process
    pool.Add(described.file[0])
    names = [m.name for m in described.file[0].message_type]
    package = described.file[0].package
    return {
        n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{n}"))
        for n in names
    }


SCHEMA = _load_schema()
TEST = SCHEMA["NetState"]().phase  # the default phase
