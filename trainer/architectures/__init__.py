"""What can be fitted: each architecture turns examples into a fitted model that exports itself to ONNX.

Torch and transformers are known here and nowhere else.
"""
