"""Gateway: an asynchronous API in front of predictors. Its truth is a record in Redis; Celery only wakes the workers."""
