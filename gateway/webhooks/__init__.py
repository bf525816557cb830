"""Webhooks: which hosts are allowed, how a webhook is signed, and how it is sent. Must not know tasks or Redis."""
