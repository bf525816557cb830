"""Records of tasks in Redis: their contents, the scripts that change them, and the settings that Redis needs."""
