"""Photo files: one picture as a person sees it, its colours, its EXIF data, and notes on the rest of the file."""
