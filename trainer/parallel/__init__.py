"""Compiled functions, and work on threads."""
