"""Everything a scan found, in one SQLite file for each output folder."""
