"""One run and its attempts: identity, checkpoints, processes, signals, cost, logs."""
