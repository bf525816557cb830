"""Clients of the API server, of Prometheus and of serving Pods."""
