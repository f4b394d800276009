"""What is written: photos, videos with their sound."""
