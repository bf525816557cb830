"""What can be fitted. Each architecture turns examples into a fitted model that exports itself to ONNX."""
