"""Files of settings, read strictly: every key has a type, none is unknown, and an error names file, key and fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tacit.errors import DataError, InvalidParameterError, TacitError

__all__ = ["Table", "read"]

T = TypeVar("T")
_MAX_BYTES = 1 << 20
_MISSING: Any = object()


def read(path: Path, what: str) -> Table:
    """The table of a whole file. Raises ``DataError`` where it is not read, ``InvalidParameterError`` for its form."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"cannot read `{path}`: {(error.strerror or 'unreadable').lower()}", hint=f"give {what}"
        ) from None
    if len(content) > _MAX_BYTES:
        raise DataError(f"`{path}` is too long for {what}", hint="is it another file?")
    try:
        return Table(path, "", tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        place = re.search(r"\(at .*\)", str(error))
        raise InvalidParameterError(
            f"`{path}` is no TOML{' ' + place[0] if place else ''}",
            hint="texts stand in quotes, and each key stands once; see https://toml.io",
        ) from None


class Table:
    """A table of a file. What is taken out is checked; ``end`` refuses what nobody took."""

    def __init__(self, path: Path, name: str, content: Mapping[str, Any]) -> None:
        self.path, self.name = path, name
        self._left = dict(content)

    def text(self, key: str, default: str = _MISSING) -> str:
        return str(self._take(key, str, "a text", default))

    def number(self, key: str, default: int = _MISSING, *, low: int, high: int) -> int:
        found = self._take(key, int, f"a whole number from {low} to {high}", default)
        if isinstance(found, bool) or not low <= found <= high:
            raise self.wrong(key, f"is a whole number from {low} to {high}", f"write `{key} = {low}`")
        return int(found)

    def place(self, key: str, default: str = _MISSING) -> Path:
        """A path, relative to the folder of the file."""
        return self.path.parent / Path(self.text(key, default)).expanduser()

    def texts(self, key: str, default: list[str] = _MISSING) -> tuple[str, ...]:
        found = self._take(key, list, "a list of texts", default)
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(key, "is a list of texts", f'write `{key} = ["…"]`')
        return tuple(found)

    def table(self, key: str, *, required: bool = True) -> Table:
        found = self._take(key, dict, "a table", _MISSING if required else {})
        return Table(self.path, f"{self.name}{key}.", found)

    def tables(self, key: str) -> list[Table]:
        """Tables under names that the file chooses: see ``names``; or, of ``[[key]]``, one after the other."""
        found = self._take(key, list, f"tables, each under `[[{key}]]`", [])
        if not all(isinstance(item, dict) for item in found):
            raise self.wrong(key, "is tables", f"write `[[{key}]]` above each")
        return [Table(self.path, f"{self.name}{key}[{place}].", item) for place, item in enumerate(found)]

    def names(self) -> tuple[str, ...]:
        """What is left in the table."""
        return tuple(self._left)

    def checked(self, key: str, make: Callable[[], T]) -> T:
        """What ``make`` gives; its error becomes one of this key."""
        try:
            return make()
        except TacitError as error:
            raise self.wrong(key, f"is not right: {error}", error.hint or f"correct `{key}`") from None

    def wrong(self, key: str, text: str, hint: str) -> InvalidParameterError:
        """The error about a key."""
        return InvalidParameterError(f"`{self.path}`: `{self.name}{key}` {text}", hint=hint)

    def end(self) -> None:
        """Raises ``InvalidParameterError`` for a key that nobody took."""
        for key in self._left:
            raise self.wrong(key, "is no key of such a file", "correct its name, or remove it")

    def _take(self, key: str, kind: type, form: str, default: Any) -> Any:
        found = self._left.pop(key, default)
        if found is _MISSING:
            raise self.wrong(key, "is missing", f"it is {form}")
        if not isinstance(found, kind):
            raise self.wrong(key, f"is {form}", f"correct the value of `{key}`")
        return found
