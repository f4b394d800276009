"""Tables and records for people, made from the store alone."""
