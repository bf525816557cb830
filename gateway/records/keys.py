"""Keys in Redis. The gateway has a database of its own, so the names are short.

task:ID           hash: one record
open              sorted set: ids of tasks without an outcome, by the time in milliseconds at which they are due
created           sorted set: the same ids, by the time of their submission
processing        set: ids that a worker has leased
open-bytes        number: bytes of the texts of all open tasks
idempotency:HASH  string: id and hash of the payload of the first request with an Idempotency-Key
webhooks          sorted set: ids of tasks whose outcome is to be sent, by the time in milliseconds at which it is due
sweep             string: time of the last sweep
hints             list: Celery's queue

The keys of corrections are in gateway/feedback/keys.py.
"""

from __future__ import annotations

TASK = "task:"
OPEN = "open"
CREATED = "created"
PROCESSING = "processing"
OPEN_BYTES = "open-bytes"
IDEMPOTENCY = "idempotency:"
WEBHOOKS = "webhooks"
SWEEP = "sweep"
HINTS = "hints"
FINISHED_CHANNEL = "finished"  # a published message is an id

BOOKS = (OPEN, CREATED, PROCESSING, OPEN_BYTES)  # in the order in which every script takes them
