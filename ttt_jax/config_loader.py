"""Configs from dataclass defaults, a YAML file that states what differs, and dotted flags.

The three are put together in that order, the later over the earlier:

    load_config(RunConfig, ["--config", "quick.yaml", "--adapt.steps", "64", "--tasks.limit", "20"])

The dataclass is the only description of an option: its type says what is
accepted, its attribute docstring is the help text. A flag and an unquoted YAML
value are the same thing here, text whose meaning the type decides; so `1e-3` is
a float, and `00576224` is a task id and not an octal number, wherever each is
written. Anything unknown or of the wrong type is refused by name.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import yaml

from ttt_jax.config_values import (
    NULL,
    ConfigError,
    Loader,
    Text,
    build,
    check,
    coerce,
    is_null,
    nearest,
    number,
    options,
)

C = TypeVar("C")


def load_config(cls: type[C], argv: Sequence[str] | None = None, prog: str | None = None) -> C:
    """Builds a config from command line arguments.

    Args:
      cls: a dataclass, nested as deep as you like.
      argv: `--config FILE.yaml` (optional) and dotted flags; `sys.argv[1:]` where None.
      prog: name of the program in messages.

    Returns:
      An instance of `cls`. Leaves with status 2 and one line on stderr where an
      option is wrong, with status 0 after `--help`.
    """
    parser = _parser(cls, prog)
    known, unknown = parser.parse_known_args([_spelled(a) for a in (sys.argv[1:] if argv is None else argv)])
    try:
        if unknown:
            name = unknown[0]
            if not name.startswith("--"):
                raise ConfigError(f"unexpected argument {name!r}")
            key = name.removeprefix("--").partition("=")[0].replace("-", "_")
            raise ConfigError(f"unknown option {_flag(key)}{nearest(cls, key, show=_flag)}")
        given = vars(known)
        file = given.pop("config", None)
        values = check(cls, read_yaml(file), source=file) if file else {}
        kinds = {o.key: o.type for o in options(cls)}
        for key, words in given.items():
            # The parser hands over a list exactly where the type is a sequence.
            raw = [Text(w) for w in words] if isinstance(words, list) else Text(words)
            if isinstance(raw, list) and len(raw) == 1 and (is_null(raw[0]) or raw[0][0] in "[{"):
                raw = raw[0]
            _put(values, key, coerce(raw, kinds[key], _flag(key)))
        return build(cls, values, source=file or "command line")
    except ConfigError as error:
        parser.error(str(error))


def from_dict(cls: type[C], data: dict[str, Any], source: str = "config") -> C:
    """A config from nested plain data; `source` names it in errors. Raises ConfigError."""
    return build(cls, check(cls, data, source), source)


def from_yaml(cls: type[C], path: str | Path) -> C:
    """A config from a YAML file that states what differs. Raises ConfigError."""
    return from_dict(cls, read_yaml(path), str(path))


def to_yaml(config: Any) -> str:
    """Every option as resolved; `from_yaml` gives back an equal config."""
    plain = _plain(config)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def diff(a: Any, b: Any, ignore: Iterable[str] = ()) -> list[str]:
    """What differs between two configs, as `adapt.steps: 64 != 32`; options in `ignore` do not count."""
    left, right = _flat(_plain(a)), _flat(_plain(b))
    keys = [k for k in {**left, **right} if k not in set(ignore)]
    absent = "(absent)"
    pairs = [(k, left.get(k, absent), right.get(k, absent)) for k in keys]
    return [f"{k}: {x!r} != {y!r}" for k, x, y in pairs if x != y]


# -- YAML --------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Quotes every string that `Loader` and a union type could take for something else."""


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    ambiguous = text.lower() in NULL or number(float, text) is not None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if ambiguous else None)


_Dumper.add_representer(str, _represent_str)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file's mapping, scalars still untyped (`check` gives them types). Raises ConfigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = yaml.load(text, Loader=Loader)  # builds strings, lists and dicts only
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except ConfigError as error:
        raise ConfigError(str(error).replace("<unicode string>", str(path))) from None
    if data is None or data == "":
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected options (key: value), found {type(data).__name__}")
    return data


# -- The command line --------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of a page of usage."""
        self.exit(2, f"{self.prog}: error: {message}\n(--help lists every option)\n")


def _parser(cls: type, prog: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        usage="%(prog)s [--config FILE.yaml] [--option value ...]",
        description=(inspect.getdoc(cls) or "").replace("%", "%%"),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=110),
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file that states what differs from the defaults")
    groups: dict[str, Any] = {}
    for o in options(cls):
        name = o.key.rpartition(".")[0]
        if name not in groups:
            groups[name] = parser.add_argument_group(name, o.group.replace("%", "%%")) if name else parser
        shown = "required" if o.default is dataclasses.MISSING else f"default: {_show(o.default)}"
        arguments: dict[str, Any] = {"help": f"{o.doc} ({shown})".strip().replace("%", "%%")}
        if _is_sequence(o.type):
            arguments["nargs"] = "*"
        elif o.type is bool:  # `--remat` alone switches it on
            arguments |= {"nargs": "?", "const": "true"}
        groups[name].add_argument(_flag(o.key), dest=o.key, metavar=_metavar(o.type), **arguments)
    return parser


def _metavar(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "{" + ",".join(str(a) for a in args) + "}"
    if origin in (Union, types.UnionType):
        return "|".join(_metavar(a) for a in args)
    if origin in (tuple, list):
        return _metavar(args[0])
    return {bool: "true|false", type(None): "none"}.get(kind, getattr(kind, "__name__", "yaml").upper())


def _show(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(str(v) for v in value) or "empty"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _is_sequence(kind: Any) -> bool:
    if get_origin(kind) in (Union, types.UnionType):
        return any(_is_sequence(a) for a in get_args(kind))
    return get_origin(kind) in (tuple, list)


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _spelled(argument: str) -> str:
    """`--run_dir=a_b` to `--run-dir=a_b`: a flag may be written with either."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def _plain(value: Any) -> Any:
    """Dataclasses and tuples to dicts and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _flat(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return flat


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        if not isinstance(values.get(group), dict):
            values[group] = {}
        values = values[group]
    values[name] = value
