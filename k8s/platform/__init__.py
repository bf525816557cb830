"""Steps of the chart's Jobs that need the Kubernetes API: Secrets of the storage, and the demo's TextClassifier."""
