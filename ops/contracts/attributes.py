"""
Descriptions of attributes, read from the source by the convention of Sphinx's autodoc.

The description of a field is the `#:` comment on its line or, where that is too short, a docstring below it.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise

_Described = Mapping[str, str]


def attributes_of(cls: type) -> dict[str, str]:
    """The description of each attribute that has one, by name, inherited attributes included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if str(getattr(sys.modules.get(base.__module__), "__file__", "")).endswith(".py"):
            found |= _of_module(base.__module__).get(base.__name__, {})
    return found


@cache
def _of_module(name: str) -> dict[str, _Described]:
    source = inspect.getsource(sys.modules[name])
    lines = source.encode().splitlines()  # the syntax tree counts columns in bytes
    return {node.name: dict(_described(node, lines)) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}


def _described(node: ast.ClassDef, lines: list[bytes]) -> Iterator[tuple[str, str]]:
    for statement, after in pairwise([*node.body, ast.Pass()]):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                rest = lines[(statement.end_lineno or 0) - 1][statement.end_col_offset :].decode()
                comment = rest.partition("#:")[2].partition("  #")[0].strip()
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))) if not comment:
                        yield name, inspect.cleandoc(text)
                    case _ if comment:
                        yield name, comment
