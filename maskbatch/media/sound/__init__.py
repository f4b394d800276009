"""The sound of a video, moved to the corrected times of its pictures."""
