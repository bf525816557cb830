"""Controller that trains, evaluates and serves TextClassifiers."""
