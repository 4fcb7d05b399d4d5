"""Whether the packages are installed that pages are drawn with; imports none of them."""

from importlib.util import find_spec

from serctl.errors import ReportError


def check_packages() -> None:
    """Refuse to begin without the packages of the extra ``report``.

    Raises:
        ReportError: One is not installed.
    """
    for package in ("plotly", "jinja2"):
        if find_spec(package) is None:
            raise ReportError(f"A page needs {package}. Install it: pip install 'serctl[report]'")
