"""Kubernetes objects as documents: kinds, names and common parts. No client, no clock."""
