"""Words of texts as features: the tokenizer, and TF-IDF. Knows no model."""
