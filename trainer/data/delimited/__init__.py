"""CSV and TSV files: their dialect, quoting and records."""
