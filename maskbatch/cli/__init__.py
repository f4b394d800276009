"""The command line: the only package that uses click; only terminal.py uses rich and tqdm."""
