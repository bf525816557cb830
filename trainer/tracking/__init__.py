"""Record runs in MLflow, and tell Prometheus how a training proceeds."""
