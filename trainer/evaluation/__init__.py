"""Predictions, scores and thresholds of a model, and how it compares with the served version."""
