"""The trainer: from labelled texts to a published version."""
