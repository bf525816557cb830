"""Split examples into train, validation and test: near-duplicates together, every label in each part."""
