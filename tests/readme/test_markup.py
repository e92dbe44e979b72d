"""The documents are valid reStructuredText: a faulty table or link would not be shown."""

from pathlib import Path

import docutils.core
import docutils.utils
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for folder in (".", "docs", "benchmark", "examples")
    for path in (ROOT / folder).glob("**/*.rst" if folder != "." else "*.rst")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_has_no_faults(page: Path) -> None:
    warning = docutils.utils.Reporter.WARNING_LEVEL
    settings = {"report_level": warning, "halt_level": warning}
    assert docutils.core.publish_string(page.read_text(encoding="utf-8"), str(page), settings_overrides=settings)


def test_every_page_is_read() -> None:
    assert {"README.rst", "docs/teachers.rst", "examples/tinybert/README.rst"} <= {
        str(page.relative_to(ROOT)) for page in PAGES
    }
