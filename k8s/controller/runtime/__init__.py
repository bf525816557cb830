"""Runtime of the controller: work queue, workers, leader election, metrics and logs."""
