"""Typed definitions of the files that stages exchange: one for each type of file."""
