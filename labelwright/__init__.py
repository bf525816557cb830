"""The command `labelwright`, and the demo: the one place that knows every other package."""
