"""CSV and TSV files: how they are written, and their records."""
