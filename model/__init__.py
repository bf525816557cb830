"""What a trained classifier is, and the server that answers with it."""
