"""Photos: one picture as a person sees it, and what the file says about it."""
