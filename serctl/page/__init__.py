"""Pages for reports and timelines: single HTML files without network or server."""
