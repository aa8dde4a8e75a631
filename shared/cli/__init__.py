"""The command `rushes`: what it asks of a service, and how it prints the answers."""
