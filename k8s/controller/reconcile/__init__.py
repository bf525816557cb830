"""Reconciliation of one object: observe, decide, apply, write the status, record events."""
