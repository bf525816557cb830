"""Read a dataset: download, file formats, text columns, labels, examples."""
