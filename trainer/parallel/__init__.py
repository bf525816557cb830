"""Code that is compiled, and work on threads."""
