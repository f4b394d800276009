"""Tables, records and the report page, made from the store alone."""
