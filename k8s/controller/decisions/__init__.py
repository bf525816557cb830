"""What to do about what is seen: pure functions of it and of the time, no client and no clock."""
