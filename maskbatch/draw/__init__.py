"""Pictures with boxes and labels drawn in. Arrays in, arrays out."""
