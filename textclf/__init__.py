"""Carry an ONNX text classifier from a model registry to production."""

__version__ = "0.1.0"
