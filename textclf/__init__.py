"""Carry an ONNX text classifier from a model registry to production."""

import os

__version__ = "0.1.0"

# onnxruntime reports its use to Microsoft unless it is told not to before it is imported; a value
# that is set already stands. Source: Privacy.md in its package
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Texts are tokenised one request at a time, on threads that have other work beside them.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
