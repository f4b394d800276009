"""The sound of a video, on the corrected times of its picture."""
