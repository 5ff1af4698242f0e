"""The `.env` of a directory: the variables that it sets, and the lines at fault."""

import os
import re
from io import StringIO
from pathlib import Path
from typing import Final, NamedTuple

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

# Without single quotes Docker Compose expands $NAME and $$ too; python-dotenv expands ${NAME} alone.
_EXPANDED: Final = re.compile(r"=\s*(?!\s|').*\$[A-Za-z_$]")
_REFERENCE: Final = re.compile(r"\$\{(?P<name>[^}:]*)\}")


class EnvFile(NamedTuple):
    """
    The values of the file; `lines` maps each name to the numbers of its lines.

    Problems and doubts name a line and never quote it; a doubt does not keep a process from starting.
    """

    values: dict[str, str]
    lines: dict[str, list[int]]
    problems: list[str]
    doubts: list[str]


NOTHING: Final = EnvFile({}, {}, [], [])


def read(path: Path) -> EnvFile:
    """Read the file as python-dotenv does; a missing file has no values. It never raises."""
    try:
        text = path.read_text("utf-8-sig")  # editors on Windows write a byte order mark
    except FileNotFoundError:
        return NOTHING
    except UnicodeDecodeError as error:
        return NOTHING._replace(problems=[f".env: byte {error.start} is not UTF-8"])
    except OSError as error:
        return NOTHING._replace(problems=[f".env: cannot be read: {error.strerror}"])
    found = [binding for binding in parse_stream(StringIO(text)) if binding.key or binding.error]
    # A line that cannot be read is reported below; python-dotenv would log it too.
    kept = "".join(binding.original.string for binding in found if not binding.error)
    texts = dotenv_values(stream=StringIO(kept)).items()
    values = {name: text for name, text in texts if text is not None and "\0" not in text}  # the environment can have no NUL
    lines: dict[str, list[int]] = {}
    for binding in found:
        if binding.key and binding.value:
            lines.setdefault(binding.key, []).append(_line(binding))
    known = values | dict(os.environ)
    problems = [problem for binding in found if (problem := _problem(binding, known))]
    return EnvFile(values, lines, problems, [doubt for binding in found if (doubt := _doubt(binding))])


def _problem(binding: Binding, known: dict[str, str]) -> str | None:
    if binding.error:
        return f".env: line {_line(binding)} cannot be read: NAME=value is expected, with any quotation mark closed"
    if "\0" in binding.original.string:
        return f"{binding.key}: has a NUL character in it (line {_line(binding)} of .env)"
    unset = [name["name"] for name in _REFERENCE.finditer(binding.value or "") if name["name"] not in known]
    if unset:
        return f"{binding.key}: refers to a variable that is not set (line {_line(binding)} of .env)"
    return None


def _doubt(binding: Binding) -> str | None:
    if binding.key and binding.value is None:
        return f"{binding.key}: has no = and sets nothing (line {_line(binding)} of .env)"
    if binding.key and _EXPANDED.search(binding.original.string):
        where = f"(line {_line(binding)} of .env)"
        return f"{binding.key}: has a $ that Docker Compose would take for a variable: put the value in single quotes {where}"
    return None


def _line(binding: Binding) -> int:
    """Return the number of the line of the binding itself: its text begins with the blank lines before it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
