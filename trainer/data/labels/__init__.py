"""From cells of a label column to labels."""
