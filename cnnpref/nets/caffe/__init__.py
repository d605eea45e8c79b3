"""Caffe's prototxt and caffemodel, read and run without Caffe."""

from cnnpref.nets.caffe.files.caffemodel import write_caffemodel
from cnnpref.nets.caffe.files.prototxt import read_prototxt
from cnnpref.nets.caffe.net import CaffeNet, load_caffe, read_graph, save_caffemodel

__all__ = [
    "CaffeNet",
    "load_caffe",
    "read_graph",
    "read_prototxt",
    "save_caffemodel",
    "write_caffemodel",
]
