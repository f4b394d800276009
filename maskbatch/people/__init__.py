"""The answer instead of the frames: persons, their episodes, clock and place, from stored rows alone."""
