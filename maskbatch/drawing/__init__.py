"""Drawing of boxes and labels on pictures. Arrays in, arrays out."""
