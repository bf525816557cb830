"""Record runs in MLflow, and export metrics of a training to Prometheus."""
