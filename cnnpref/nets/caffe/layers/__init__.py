"""Caffe's layer types."""
