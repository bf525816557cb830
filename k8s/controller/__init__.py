"""The controller: a TextClassifier keeps itself trained, good and served."""
