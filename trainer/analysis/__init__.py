"""What a dataset is like before anything is trained on it: findings, and a page that shows them."""
