"""The commands of `rushes` that speak to a service, and how they say what they heard."""
