"""A REST request as WordPress reads it, and the checks of its parameters. Unknown parameters are ignored, silently."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from urllib.parse import parse_qsl

from adapters.simulators.woocommerce.keys import Asker
from adapters.simulators.woocommerce.problems import Problem, invalid_param

_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_TRUE: Final = frozenset({"true", "1", "yes"})
_FALSE: Final = frozenset({"false", "0", "no", ""})


@dataclass(frozen=True, slots=True)
class Asking:
    """One request to a route of REST."""

    method: str
    path: str  # below wc/v3, without a slash in front
    query: Mapping[str, object]
    body: Mapping[str, Any]
    asker: Asker
    ids: tuple[int, ...] = ()
    raw: str = ""  # the query as it came, for the Link header

    def value(self, name: str) -> Any:  # noqa: ANN401 - any JSON
        """A parameter of the body or of the query."""
        return self.body.get(name, self.query.get(name))

    def text(self, name: str, default: str = "") -> str:
        found = self.value(name)
        return default if found is None else str(found)

    def whole(self, name: str, default: int, lowest: int, highest: int | None = None) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise invalid_param(name, f"{name} is not of type integer.", "rest_invalid_type", {"param": name})
        if int(text) < lowest or (highest is not None and int(text) > highest):
            between = f"between {lowest} (inclusive) and {highest} (inclusive)"
            why = f"{name} must be {between if highest else f'greater than or equal to {lowest}'}"
            raise invalid_param(name, why, "rest_out_of_bounds")
        return int(text)

    def one_of(self, name: str, default: str, known: Sequence[str]) -> str:
        text = self.text(name, default)
        if text not in known:
            raise invalid_param(name, f"{name} is not one of {_listed(known)}.", "rest_not_in_enum")
        return text

    def several(self, name: str) -> list[str]:
        """A list: with commas, or as PHP writes arrays."""
        found = self.value(name)
        if found is None or found == "":
            return []
        if isinstance(found, Mapping):
            return [str(one) for one in found.values()]
        return [str(one) for one in found] if isinstance(found, list) else [one.strip() for one in str(found).split(",")]

    def some_of(self, name: str, known: Sequence[str]) -> list[str]:
        values = self.several(name)
        for place, value in enumerate(values):
            if value not in known:
                raise invalid_param(name, f"{name}[{place}] is not one of {_listed(known)}.", "rest_not_in_enum")
        return values

    def truth(self, name: str, *, default: bool = False) -> bool:
        """A boolean, as loosely as WordPress takes it; "maybe" is none."""
        found = self.value(name)
        if found is None or isinstance(found, bool):
            return default if found is None else found
        text = str(found).lower()
        if text not in _TRUE | _FALSE:
            raise invalid_param(name, f"{name} is not of type boolean.", "rest_invalid_type", {"param": name})
        return text in _TRUE

    def time(self, name: str) -> datetime | None:
        """A time, naive where it names no offset. Raises `Problem` for anything else."""
        text = self.text(name)
        if not text:
            return None
        try:
            return datetime.fromisoformat(text.replace(" ", "+"))
        except ValueError:
            raise invalid_param(name, "Invalid date.", "rest_invalid_date") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What REST answers."""

    body: object
    status: int = 200
    headers: tuple[tuple[str, str], ...] = field(default=())


def php_query(text: str) -> dict[str, object]:
    """$_GET: the last of a name wins, `a[]=` and `a[x]=` make arrays, `.` and blanks in names become `_`."""
    found: dict[str, object] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        matched = _NAME.fullmatch(name)
        if matched is None:
            found[name] = value
            continue
        base, inner = matched[1].replace(".", "_").replace(" ", "_"), re.findall(r"\[([^\[\]]*)\]", matched[2])
        if not inner:
            found[base] = value
            continue
        array = found.get(base)
        array = array if isinstance(array, dict) else {}
        array[inner[0] or str(len(array))] = value
        found[base] = array
    return found


def json_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The JSON of a request. Raises `Problem` where it is none."""
    if "json" not in content_type or not body.strip():
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        data = {"status": 400, "json_error_code": 4, "json_error_message": "Syntax error"}
        raise Problem(400, "rest_invalid_json", "Invalid JSON body passed.", data) from None
    return found if isinstance(found, dict) else {}


def as_utc(time: datetime, zone: tzinfo, *, gmt: bool) -> datetime:
    """A naive time is the shop's own, unless `dates_are_gmt`."""
    if time.tzinfo is not None:
        return time.astimezone(UTC)
    return time.replace(tzinfo=UTC if gmt else zone).astimezone(UTC)


def _listed(known: Sequence[str]) -> str:
    return f"{', '.join(known[:-1])}, and {known[-1]}"
