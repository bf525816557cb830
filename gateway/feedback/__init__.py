"""Corrections by people: held in Redis, and stored by a flusher, each exactly once."""
