"""The driver of a scan: shards, stops, time, memory."""
