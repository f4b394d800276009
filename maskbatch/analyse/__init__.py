"""What happens to frames: faces are found, classified and followed. Arrays in, arrays out."""
