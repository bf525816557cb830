"""Kubernetes objects as documents: their kinds, their names, and what they have in common. No client, no clock."""
