"""Worker: Celery delivers hints; for each, a thread claims tasks, asks their predictors and writes the outcomes."""
