"""Carry an ONNX text classifier from a model registry to production."""
