"""Photo files: the picture as a person sees it, its colours and EXIF data, and notes on the rest of the file."""
