"""Protection against decoders that hang or crash: time limits, and a separate process for suspect files."""
