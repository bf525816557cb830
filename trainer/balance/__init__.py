"""Balance the labels of the training part, or of a file."""
