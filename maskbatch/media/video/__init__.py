"""Video files: frames with exact times, sampling, segments, and the state from which reading continues."""
