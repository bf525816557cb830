"""Gateway: an asynchronous API in front of predictors. Records in Redis are the truth; Celery only wakes the workers."""
