"""`report.html`: the answer of a scan as one page, which opens offline in any browser."""

from maskbatch.reports.page.render import PAGE, render_page
from maskbatch.reports.page.view import Facts, Tables, facts_of, view_of

__all__ = ["PAGE", "Facts", "Tables", "facts_of", "render_page", "view_of"]
