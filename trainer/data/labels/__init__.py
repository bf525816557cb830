"""Parse the cells of label columns into labels."""
