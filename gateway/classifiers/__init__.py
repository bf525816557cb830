"""Classifiers behind the gateway: from the settings, and from a Kubernetes namespace."""
