"""Keys in Redis of corrections, in the database of the records.

correction:ID       hash: one correction
corrections-of:TEXT hash: by author, id and digest of the latest correction of a text, so that a repeated request makes no second
held:CLASSIFIER     sorted set: rows to store, by the time in milliseconds at which they were accepted
batch:CLASSIFIER    hash: rows that are being stored; they do not change
batches             number of the latest batch
corrected           set: classifiers that have had a correction

A row is named ID, or ID/withdrawn if it withdraws the correction.
"""

from __future__ import annotations

CORRECTION = "correction:"
CORRECTIONS_OF = "corrections-of:"
HELD = "held:"
BATCH = "batch:"
BATCHES = "batches"
CORRECTED = "corrected"
