"""The feature cache: one Zarr store of frames per encoder key."""
