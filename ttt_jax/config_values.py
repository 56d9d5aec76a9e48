"""What a config's dataclasses say about their options, and values held to it.

The dataclass is the only description of an option: its type says what is
accepted, its attribute docstring is the help text. Text, from a flag or an
unquoted YAML scalar, means what that type says; any other value must fit it as
it is. Everything else is refused by name.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

C = TypeVar("C")

NULL = ("", "~", "null", "none")


class ConfigError(ValueError):
    """An option that is unknown, of the wrong type, missing or refused by its dataclass."""


class Text(str):
    """A flag or an unquoted YAML scalar: text that its option's type gives a meaning to."""


class Loader(yaml.BaseLoader):
    """Keeps scalars as text, and refuses a key that is given twice (YAML would keep the last)."""

    def construct_scalar(self, node: yaml.ScalarNode) -> str:
        text = super().construct_scalar(node)
        return Text(text) if node.style is None else text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [k.value for k, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{node.start_mark.name}: {name}: given twice")
        return super().construct_mapping(node, deep=True)


@dataclasses.dataclass(frozen=True)
class Option:
    """One leaf of a config: dotted key, type, default and help text."""

    key: str
    type: Any
    default: Any
    doc: str
    group: str
    """Docstring of the dataclass it stands in."""


def options(cls: type, prefix: str = "", base: Any = None) -> Iterator[Option]:
    """Every option of a dataclass, its own before nested ones; defaults from `base` where one is given."""
    hints, docs, nested = get_type_hints(cls), _attribute_docs(cls), []
    for f in dataclasses.fields(cls):
        default = _default(f, base)
        if inner := _dataclass_in(hints[f.name]):
            nested.append((inner, f"{prefix}{f.name}.", None if default is dataclasses.MISSING else default))
        else:
            doc = docs.get(f.name, "")
            yield Option(prefix + f.name, hints[f.name], default, doc, inspect.getdoc(cls) or "")
    for arguments in nested:
        yield from options(*arguments)


def check(cls: type, data: Any, source: str, prefix: str = "", root: type | None = None) -> dict[str, Any]:
    """Nested plain data with every value of its option's type; only what `data` states. Raises ConfigError."""
    where = f"{source}: {prefix.rstrip('.')}: " if prefix else f"{source}: "
    if not isinstance(data, dict):
        raise ConfigError(f"{where}expected options (key: value), found {_found(data)}")
    hints, values = get_type_hints(cls), {}
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    for key, value in data.items():
        if key not in names:
            raise ConfigError(f"{source}: unknown option {prefix}{key}{nearest(root or cls, str(key), prefix)}")
        inner, full = _dataclass_in(hints[key]), prefix + key
        if inner is None or (is_null(value) and type(None) in get_args(hints[key])):
            values[key] = coerce(value, hints[key], f"{source}: {full}")
        elif dataclasses.is_dataclass(value) and isinstance(value, inner):
            values[key] = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        elif is_null(value):  # `adapt:` with everything below it commented out
            values[key] = {}
        else:
            values[key] = check(inner, value, source, full + ".", root or cls)
    return values


def build(cls: type[C], values: dict[str, Any], source: str, prefix: str = "", base: Any = None) -> C:
    """The instance: `values` over the fields of `base` (a field's own default) over the class's defaults."""
    hints, arguments = get_type_hints(cls), {}
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        default = _default(f, base)
        value = values.get(f.name, default)
        if value is dataclasses.MISSING:
            raise ConfigError(f"{source}: {prefix}{f.name}: required, and not given")
        inner = _dataclass_in(hints[f.name])
        if inner and isinstance(value, dict):
            default = None if default is dataclasses.MISSING else default
            value = build(inner, value, source, f"{prefix}{f.name}.", default)
        if f.init:
            arguments[f.name] = value
    try:
        return cls(**arguments)
    except ConfigError:
        raise
    except ValueError as error:  # the dataclass's own check
        raise ConfigError(f"{source}: {prefix.rstrip('.') + ': ' if prefix else ''}{error}") from None


def coerce(value: Any, kind: Any, where: str) -> Any:
    """`value` as type `kind`, or ConfigError. `Text` is parsed; anything else must already fit."""
    fail = ConfigError(f"{where}: expected {_describe(kind)}, found {_found(value)}")
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return _read(value, yaml.SafeLoader, fail) if isinstance(value, Text) else value
    if origin is Literal:
        for choice in args:
            if value == (str(choice) if isinstance(value, Text) else choice) and not isinstance(value, bool):
                return choice
        close = difflib.get_close_matches(str(value), [str(a) for a in args], 1)
        raise ConfigError(str(fail) + (f"; did you mean {close[0]}?" if close else ""))
    if origin in (Union, types.UnionType):
        if type(None) in args and is_null(value):
            return None
        # str accepts any text, so it is asked last.
        for member in sorted((a for a in args if a is not type(None)), key=lambda a: a is str):
            try:
                return coerce(value, member, where)
            except ConfigError as error:
                if len(args) == 2 and type(None) in args and get_origin(member) is not None:
                    raise error  # says more than the union does
        raise fail
    if origin in (tuple, list, dict) and isinstance(value, Text) and value[:1] in ("[", "{"):
        value = _read(value, Loader, fail)
    if origin is tuple or origin is list:
        if not isinstance(value, (list, tuple)):
            raise fail
        fixed = origin is tuple and args[-1] is not Ellipsis
        if fixed and len(args) != len(value):
            raise fail
        items = args if fixed else [args[0]] * len(value)
        return origin(coerce(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, items, strict=True)))
    if origin is dict:
        if not isinstance(value, dict):
            raise fail
        return {coerce(k, args[0], where): coerce(v, args[1], f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        if isinstance(value, kind):  # type: ignore[arg-type]
            return value
        return build(kind, check(kind, value, where), where)  # type: ignore[arg-type]
    if isinstance(value, Text):
        parsed = _parse(value, kind)
    else:
        # bool is an int to Python, and a whole number is a float to everybody.
        fits = type(value) is kind or (kind is float and type(value) is int)
        parsed = kind(value) if fits else None
    if parsed is None:
        raise fail
    return parsed


def _read(text: str, loader: type, fail: ConfigError) -> Any:
    try:
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError:
        raise fail from None


def _parse(text: str, kind: type) -> Any:
    """Text as a bool, int, float or str; None where it is none."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    if kind is int:
        return number(int, text)
    if kind is float:
        return number(float, text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return str(text) if kind is str and text.lower() not in ("", "~", "null") else None


def number(kind: type, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        return None


def is_null(value: Any) -> bool:
    return value is None or (isinstance(value, Text) and value.lower() in NULL)


def _found(value: Any) -> str:
    names = {dict: "mapping", list: "list", tuple: "list"}
    shown = repr(str(value)) if isinstance(value, str) else repr(value)
    kind = "" if isinstance(value, Text) else f" ({names.get(type(value), type(value).__name__)})"
    return (shown if len(shown) < 80 else shown[:77] + "...") + kind


def _describe(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(str(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(a) for a in args)
    if origin in (tuple, list):
        return "a list of " + _describe(args[0]) if args[-1] is Ellipsis or origin is list else f"{len(args)} values"
    names = {bool: "true or false", int: "an integer", float: "a number", str: "text", type(None): "null"}
    return names.get(kind) or ("key: value pairs" if origin is dict else getattr(kind, "__name__", str(kind)))


def nearest(cls: type, key: str, prefix: str = "", show: Callable[[str], str] = str) -> str:
    """`; did you mean ...?` for an unknown key: same last name, then near as a whole, then near in the last name."""
    keys = [o.key for o in options(cls)]
    names = [*keys, *sorted({group for k in keys if (group := k.rpartition(".")[0])})]
    last, near = key.rpartition(".")[2], difflib.get_close_matches
    lasts = near(last, sorted({n.rpartition(".")[2] for n in names}), 1)
    same = [n for n in names if n.rpartition(".")[2] in (last, *lasts)]
    whole = near(prefix + key, names, 1, 0.75)
    exact = [n for n in same if n.rpartition(".")[2] == last]
    found = next((near(prefix + key, group, 1, 0)[0] for group in (exact, whole, same) if group), None)
    return f"; did you mean {show(found)}?" if found else ""


def _default(f: dataclasses.Field, base: Any = None) -> Any:
    if base is not None:
        return getattr(base, f.name)
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


def _dataclass_in(kind: Any) -> type | None:
    """The dataclass that a field's type is, or is an Optional of."""
    if dataclasses.is_dataclass(kind):
        return kind  # type: ignore[return-value]
    if get_origin(kind) in (Union, types.UnionType):
        members = [a for a in get_args(kind) if a is not type(None)]
        if len(members) == 1 and dataclasses.is_dataclass(members[0]):
            return members[0]  # type: ignore[return-value]
    return None


def _attribute_docs(cls: type) -> dict[str, str]:
    """Field name -> the string literal that follows it in the source."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):  # built in, or made at run time: no source
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for before, after in itertools.pairwise(body):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = " ".join(doc.split())
    return docs
