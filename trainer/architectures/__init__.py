"""Architectures: each fits a model to examples and exports it to ONNX."""
