"""Corrections by people, learnt beside the dataset: read, applied to the examples, and placed into the parts."""
