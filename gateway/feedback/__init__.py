"""Corrections by people: held in Redis, then stored by a flusher, each exactly once."""
