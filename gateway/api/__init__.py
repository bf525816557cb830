"""The gateway's API: FastAPI routes that write and read records. It never asks a predictor for an answer."""
