"""From an address to clean examples: download, formats, text columns, labels."""
