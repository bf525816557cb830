"""Settings of a training: frozen, validated, documented. Read once, at the entry, and passed down."""
