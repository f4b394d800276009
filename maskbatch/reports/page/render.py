"""Render the page as one HTML file that loads nothing from the network."""

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import unquote_to_bytes

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from maskbatch.reports.page import words
from maskbatch.reports.page.view import MOST_IN_LIST, PAGE_SIZE, View

PAGE = "report.html"
_TEMPLATES = "maskbatch.reports.page"


def render_page(view: View, folder: Path, is_inline: bool = False) -> str:
    """Return the page for a view as HTML text.

    All text from outside is escaped. The page's Content-Security-Policy allows its own style and script by their
    checksums, pictures from the disk, and nothing else.

    Args:
        view: the content of the page.
        folder: the output folder, which contains the pictures.
        is_inline: embed the pictures of people in the page; annotated copies stay outside.

    Example:
        >>> render_page(view, Path("audit")).startswith("<!doctype html>")
        True
    """
    style, script = _text("style.css"), _text("page.js")
    return page_template().render(
        view=view, words=words, style=style, script=script, page_size=PAGE_SIZE, most_in_list=MOST_IN_LIST,
        picture=_inlined(folder) if is_inline else _same,
        policy="; ".join((
            "default-src 'none'", "img-src 'self' file: data:", f"style-src '{_checksum(style)}'",
            f"script-src '{_checksum(script)}'", "base-uri 'none'", "form-action 'none'",
        )),
    )  # fmt: skip


@cache
def page_template() -> Template:
    """Return the page's template, compiled when it is first asked for."""
    environment = Environment(loader=PackageLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    return environment.get_template("report.html")


@cache
def _text(name: str) -> str:
    return resources.files(_TEMPLATES).joinpath("templates", name).read_text(encoding="utf-8")


def _checksum(text: str) -> str:
    """Return the checksum of an inline style or script in the form that the policy requires."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _same(address: str) -> str:
    return address


def _inlined(folder: Path) -> Callable[[str], str]:
    """Return a function that replaces the address of an evidence picture by its content, unless the file is gone."""

    def inlined(address: str) -> str:
        if not address.startswith("evidence/"):
            return address
        try:
            content = (folder / unquote_to_bytes(address).decode("utf-8", "surrogateescape")).read_bytes()
        except OSError:
            return address
        return "data:image/jpeg;base64," + base64.b64encode(content).decode()

    return inlined
