"""A pre-trained encoder, fine-tuned, exported to ONNX and quantized."""
