"""Steps of the chart's Jobs that need the Kubernetes API: Secrets of the release, and the demo's TextClassifier."""
