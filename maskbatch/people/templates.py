"""Path templates such as "{site}/{camera}/{start:%Y-%m-%d_%H-%M-%S}", which extract fields from names of sources."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from maskbatch.errors import UsageError

_FIELDS = ("site", "camera", "start", "any")
_FIELD = re.compile(r"\{(\w*)(?::([^{}]*))?\}")
# patterns of strptime's directives; %f has one to six digits
_DIRECTIVES = {
    "Y": r"\d{4}", "m": r"\d{1,2}", "d": r"\d{1,2}", "H": r"\d{1,2}", "M": r"\d{1,2}", "S": r"\d{1,2}", "y": r"\d{2}",
    "j": r"\d{1,3}", "f": r"\d{1,6}", "z": r"(?:Z|[+-]\d{2}:?\d{2})", "I": r"\d{1,2}", "p": r"[AaPp][Mm]",
    "b": r"[^\W\d]{3}", "B": r"[^\W\d]{3,}", "%": "%",
}  # fmt: skip


class Template:
    """A path template, which describes the end of a name: any folders may precede it, and any suffix may follow.

    `{site}` and `{camera}` stand for any text without a slash, `{any}` for any text, and `{start:FORMAT}` for a time in
    the format of `datetime.strptime`. Raises UsageError for an unknown field or format.

    Example:
        >>> Template("{site}/{camera}/{any}").match("north/door/a.mp4")["camera"]
        'door'
    """

    def __init__(self, text: str) -> None:
        self._text, self._format, pattern, seen, end = text, None, "", set(), 0
        for field in _FIELD.finditer(text):
            name, form = field.groups()
            if name not in _FIELDS or name in seen - {"any"} or (form is not None) != (name == "start"):
                raise UsageError(
                    f"--path-template {text!r}: {field[0]} is not a field; use {{site}}, {{camera}} and {{any}}, and "
                    "{start:FORMAT}, such as {start:%Y%m%d_%H%M%S}, each once"
                )
            seen.add(name)
            pattern += re.escape(text[end : field.start()]) + self._group(name, form)
            end = field.end()
        rest = text[end:]
        if not seen or "{" in rest or "}" in rest:
            raise UsageError(
                f"--path-template {text!r} has no field such as {{camera}}, or a brace without its partner"
            )
        self._pattern = re.compile(rf"(?:.*/)?{pattern}{re.escape(rest)}(?:\.[^./]*)?")

    def _group(self, name: str, form: str | None) -> str:
        if name == "any":
            return ".*"
        if name != "start":
            return rf"(?P<{name}>[^/]+)"
        self._format, pattern, at = form, "", 0
        while at < len(form):
            if form[at] != "%":
                pattern += re.escape(form[at])
            else:
                at += 1
                if form[at : at + 1] not in _DIRECTIVES:
                    raise UsageError(f"--path-template {self._text!r}: %{form[at : at + 1]} is not part of a time")
                pattern += _DIRECTIVES[form[at]]
            at += 1
        return f"(?P<start>{pattern})"

    def match(self, name: str) -> dict[str, str | datetime]:
        """Return the fields in the name of a source; none when the name does not match."""
        found = self._pattern.fullmatch(name)
        if found is None:
            return {}
        fields: dict[str, str | datetime] = {key: value for key, value in found.groupdict().items() if key != "start"}
        if self._format is not None:
            try:
                fields["start"] = datetime.strptime(found["start"], self._format)
            except ValueError:
                return {}
        return fields


@lru_cache(maxsize=16)
def template(text: str) -> Template:
    """Parse a template, or return it from a cache. Raises UsageError."""
    return Template(text)


def suggested_template(names: Sequence[str]) -> str | None:
    """Suggest a template that fits the folders of all names; None when nothing is obvious.

    Example:
        >>> suggested_template(["north/door/1.mp4", "north/hall/1.mp4"])
        '{site}/{camera}/{any}'
    """
    depths, folders = {name.count("/") for name in names}, {name.rpartition("/")[0] for name in names}
    if len(folders) < 2 or len(depths) != 1:
        return None
    return {1: "{camera}/{any}", 2: "{site}/{camera}/{any}"}.get(depths.pop())
