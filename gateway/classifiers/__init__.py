"""Classifiers behind the gateway: those of the settings, and those found in a namespace of Kubernetes."""
