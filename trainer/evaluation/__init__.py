"""Predictions, scores and thresholds of a model, and its comparison with the served version."""
