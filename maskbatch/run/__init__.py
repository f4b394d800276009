"""The driver of a scan: engines, shards, stops, progress, and commands on finished scans."""
