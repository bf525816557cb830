"""Clients of what the controller asks: the API server, Prometheus, and the Pods that serve."""
