"""Analysis of a dataset before training: findings, suggestions, and a page that shows them."""
