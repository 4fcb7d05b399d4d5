"""The fusion network, its masked layers and its losses; torch only, no files."""
