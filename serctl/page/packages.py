"""Check whether the packages for pages are installed, without importing them."""

from importlib.util import find_spec

from serctl.errors import ReportError


def check_report_packages() -> None:
    """Check that the packages of the extra ``report`` are installed.

    Raises:
        ReportError: A package is not installed.
    """
    for package in ("plotly", "jinja2"):
        if find_spec(package) is None:
            raise ReportError(f"A page needs {package}. Install it: pip install 'serctl[report]'")
