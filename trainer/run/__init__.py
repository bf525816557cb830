"""Identity, checkpoints, processes, signals, cost and logs of a run and its attempts."""
