"""The predictor: a published version, answering over the open inference protocol (REST and gRPC) and KServe's v1."""
