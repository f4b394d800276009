"""Networks and where they run: devices, runtimes, converted copies, shipped weights."""
