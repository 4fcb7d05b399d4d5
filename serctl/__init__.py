"""Speech emotion recognition from frozen encoders: the library behind the `serctl` command."""

__version__ = "0.1.0"
