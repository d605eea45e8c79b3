"""Caffe's files: prototxt, caffemodel, mean."""
