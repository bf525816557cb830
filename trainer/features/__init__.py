"""Features from the words of texts: a tokenizer, and TF-IDF. Knows no model."""
