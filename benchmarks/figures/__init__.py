"""The figures, a file for each group; run.py calls them by name."""
