"""A server that plays the paid gateways as their documents describe them, and keeps books of what it was paid for."""
