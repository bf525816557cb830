"""Decisions: pure functions of the observed state and of the time. No client, no clock."""
