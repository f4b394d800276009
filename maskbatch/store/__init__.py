"""Everything a scan found, in one SQLite file per output folder. Only the driver of a scan writes to it."""
