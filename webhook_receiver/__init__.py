"""What other programs knock at: gateways with callbacks, services with jobs, people with a browser."""
