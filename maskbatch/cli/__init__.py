"""The command line: the only package with click; terminal.py has rich and tqdm."""
