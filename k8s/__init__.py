"""Kubernetes: the controller, and manifests to apply."""
