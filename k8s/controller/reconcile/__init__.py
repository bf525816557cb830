"""One pass over one object: observe, decide, apply, write the status, record events."""
