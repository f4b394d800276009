"""Media files: find sources, decode them, read ahead, and write copies."""
