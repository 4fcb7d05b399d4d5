"""The report people look at: one HTML file that needs neither network nor server."""
