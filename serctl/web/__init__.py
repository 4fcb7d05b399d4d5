"""Web page and HTTP API of one trained system. The default is access from this machine only."""
