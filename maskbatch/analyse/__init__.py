"""The analysis of frames: faces are detected, classified and tracked. Arrays in, arrays out."""
