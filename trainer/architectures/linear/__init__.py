"""One linear model per label over TF-IDF features, as one ONNX graph."""
