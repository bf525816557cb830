"""Worker: Celery delivers hints; for each, a thread claims a task, asks its predictor and writes the outcome."""
