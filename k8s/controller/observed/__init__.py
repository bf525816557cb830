"""Observed state of classifiers and runs, read from documents. Decisions use nothing else."""
