"""The trainer's commands, one file each, with their options and exit codes."""
