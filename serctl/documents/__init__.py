"""What the stages hand each other on disk: one typed definition for each kind of file."""
