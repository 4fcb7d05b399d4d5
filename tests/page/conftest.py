"""The pages are looked at in a browser."""

from browser_fixtures import driver, open_page

__all__ = ["driver", "open_page"]
