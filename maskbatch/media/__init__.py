"""Media files in and out: finding sources, decoding, loading ahead, writing."""
