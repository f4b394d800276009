"""Everything a scan found, in one SQLite file for each output folder. Only the driver of a scan writes it."""
