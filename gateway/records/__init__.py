"""Records of tasks in Redis: what is written, by which scripts, and which Redis may hold them."""
