"""The fusion network, its masked layers and its losses, in torch, without file access."""
