"""API of the gateway: FastAPI routes that write and read records. It never asks a predictor to label texts."""
