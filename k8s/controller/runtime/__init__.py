"""What keeps passes going: the work queue, its workers, leader election, metrics and logs."""
