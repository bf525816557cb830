"""Facts about a classifier or a run, read from documents in one place. Every decision is made of them."""
