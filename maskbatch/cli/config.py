"""Options in a file: `--config maskbatch.toml`. The command line overrides the file, which overrides the defaults."""

import difflib
import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path

import click

from maskbatch.cli.parameters import FILE, Place
from maskbatch.errors import UsageError
from maskbatch.media.storage import is_address

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# keys outside any table are options of these commands, which share most options
_SHARING = ("scan", "video", "watch", "report")
# options that may be files, although their type does not say so
_FILES = frozenset({"out", "places"})


def with_config(command: click.Command) -> click.Command:
    """Give a command the option --config, and return it."""
    option = click.Option(
        ["--config"], type=FILE, is_eager=True, expose_value=False, callback=_use, metavar="FILE",
        help="TOML file with options of the commands: see docs/config.md. The command line overrides it.",
    )  # fmt: skip
    command.params.append(option)
    return command


def _use(ctx: click.Context, _: click.Parameter, file: Path | None) -> None:
    """Make the values in a file the defaults of the command. Raises UsageError for a wrong option or value."""
    if file is None:
        return
    values = _read(file)
    commands = getattr(ctx.find_root().command, "commands", {ctx.command.name: ctx.command})
    check_names(file, values, commands)
    own = {}
    if ctx.command.name in _SHARING:
        shared = {param.name: param for param in ctx.command.params}
        own = {_name(key): (key, shared[_name(key)]) for key in values if _name(key) in shared}
    found = {param.name: _value(file, key, param, values[key], ctx) for key, param in own.values()}
    table, flags = values.get(ctx.command.name, {}), dict(_options(ctx.command))
    found |= {flags[_name(key)].name: _value(file, key, flags[_name(key)], value, ctx) for key, value in table.items()}
    ctx.default_map = found


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise UsageError(f"{file} is not TOML: {error}") from error


def _options(command: click.Command) -> Iterator[tuple[str, click.Parameter]]:
    """Yield all options of a command with their names in a file, such as `sample_fps` for --sample-fps."""
    for param in command.params:
        if isinstance(param, click.Argument):
            yield param.name, param
        elif not param.is_eager:
            yield _name(max(param.opts, key=len).lstrip("-")), param


def _name(key: str) -> str:
    return key.replace("-", "_")


def check_names(file: Path, values: Mapping[str, object], commands: Mapping[str, click.Command]) -> None:
    """Raise UsageError for a key that is not an option, and suggest the likely spelling."""
    known = {name: dict(_options(command)) for name, command in commands.items()}
    # an option with another name, such as --frame-step of watch, is not shared
    shared = {
        name: param for command in _SHARING for name, param in known.get(command, {}).items() if name == param.name
    }
    for key, value in values.items():
        if isinstance(value, dict):
            if key not in known:
                raise UsageError(f"{file}: [{key}] is no command of maskbatch{_likely(key, known, '[{}]')}")
            for name in value:
                if _name(name) not in known[key]:
                    raise UsageError(f"{file}: {key} has no option {name!r}{_likely(name, known[key])}")
        elif _name(key) not in shared:
            others = [command for command, names in known.items() if _name(key) in names]
            where = f": it is one of {others[0]}, put it below [{others[0]}]" if others else _likely(key, shared)
            raise UsageError(f"{file}: there is no option {key!r}{where}")


def _likely(key: str, known: Mapping[str, object], form: str = "{}") -> str:
    """Return the end of a message, which suggests the most similar name in the spelling of the key."""
    close = difflib.get_close_matches(_name(key), known, n=1, cutoff=0.5)
    names = [name if "_" in key else name.replace("_", "-") for name in close]
    return f"; did you mean {form.format(names[0])}?" if names else ""


def _value(file: Path, key: str, param: click.Parameter, value: object, ctx: click.Context) -> object:
    """Return a value in the form that click takes; paths are relative to the folder of the file. Raises UsageError."""
    if param.nargs == -1 or param.multiple:
        many = value if isinstance(value, list) else [value]
        return [_one(file, key, param, each, ctx) for each in many]
    if key == "save" and isinstance(value, list):
        value = ",".join(map(str, value)) or "none"
    return _one(file, key, param, value, ctx)


def _one(file: Path, key: str, param: click.Parameter, value: object, ctx: click.Context) -> object:
    kind = _kind(param)
    if isinstance(value, (datetime, date)) and kind is str:
        value = value.isoformat()
    if kind is str and isinstance(param.type, click.Choice) and type(value) is int:
        value = str(value)
    is_right = type(value) is kind or (kind is float and type(value) in (int, str))
    if not is_right:
        raise UsageError(f"{file}: {key} takes {_KINDS[kind]}, not {value!r}")
    if _is_file(param, value):
        value = str(file.absolute().parent / value)
    try:
        param.type.convert(value, param, ctx)
    except click.BadParameter as error:
        raise UsageError(f"{file}: {key}: {error.message}") from error
    return value


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _kind(param: click.Parameter) -> type:
    """Return the type of a value in the file; float also for options that take numbers or words."""
    if getattr(param, "is_flag", False):
        return bool
    if isinstance(param.type, click.types.IntParamType):
        return int
    return float if "FLOAT" in param.type.name.upper() else str


def _is_file(param: click.Parameter, value: object) -> bool:
    if not isinstance(value, str) or value == "-" or is_address(value):
        return False
    is_model = param.name == "model" and value.endswith(".keras")
    return isinstance(param.type, (click.Path, Place)) or param.name in _FILES or is_model
