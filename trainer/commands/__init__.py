"""The trainer's commands, a file each, with their options and exit codes."""
