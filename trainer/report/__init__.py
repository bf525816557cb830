"""The report of a version: one HTML page."""
