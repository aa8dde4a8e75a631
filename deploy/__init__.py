"""How Rushes is run: settings of the servers around it, and a sandbox with everything embedded."""
