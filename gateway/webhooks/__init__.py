"""Webhooks: where they may go, how they are signed, how one is sent. Knows no task, and no Redis."""
