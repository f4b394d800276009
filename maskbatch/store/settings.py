"""Compare the settings of a scan with those of earlier sessions in its folder."""

import json
from collections.abc import Mapping
from pathlib import Path

_INPUTS = "input folder"
OTHER_INPUTS = (
    "give each set of inputs an output folder of its own with --out, or replace that scan with --if-exists overwrite"
)
_WHAT_TO_DO = (
    "Give the same inputs and settings to continue the scan, choose another folder with --out, or replace the scan with "
    "--if-exists overwrite"
)


def refusal(was: Mapping[str, object], now: Mapping[str, object], out: Path) -> str:
    """Return why a scan cannot continue the scan in `out`, and what to do; "" when their settings are the same."""
    differing = differences(was, now)
    if differing.keys() == {_INPUTS}:
        before, after = differing[_INPUTS]
        return f"{out} holds a scan of other inputs (in {before}; now in {after}): {OTHER_INPUTS}"
    lines = "\n".join(f"  {name}: {before} -> {after}" for name, (before, after) in differing.items())
    return lines and f"{out} holds a scan with other settings:\n{lines}\n{_WHAT_TO_DO}"


def differences(was: Mapping[str, object], now: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """Return the differences between two sets of settings, by name: the value before and the value now."""
    old, new = _flat(was), _flat(json.loads(json.dumps(now)))
    names = (name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name))
    return {name: (_shown(old.get(name)), _shown(new.get(name))) for name in names}


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _shown(value: object) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
