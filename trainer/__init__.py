"""Labelled texts to a published version."""
