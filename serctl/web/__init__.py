"""A page and an HTTP API over one trained system, on this machine alone unless told otherwise."""
