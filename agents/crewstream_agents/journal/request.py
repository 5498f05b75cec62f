"""What makes two calls the same call: their canonical form, and the key made from it."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import PydanticSerializationError

_DATE: Final = re.compile(r"(Current Date: )[^\n]+")
"""What CrewAI writes into a prompt for `inject_date`: a run may be taken up on another day."""

_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")

DIGEST_CHARS: Final = 32


def digest(*parts: object) -> str:
    """A name made from plain values."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:DIGEST_CHARS]


def canonical(value: Any) -> Any:
    """A plain value that is the same in every process: no order of sets, no addresses, no date."""
    if isinstance(value, str):
        return _DATE.sub(r"\1*", value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): canonical(one) for key, one in value.items()}
    if isinstance(value, BaseModel):
        return _dumped(value)
    if isinstance(value, AbstractSet):
        return sorted((canonical(one) for one in value), key=repr)
    several = isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)
    return [canonical(one) for one in value] if several else _ADDRESS.sub("", repr(value))


def llm_key(where: Sequence[object], llm: Any, given: Mapping[str, Any]) -> str:
    """The key of a model call. `where`: the place in the run, for calls that are alike."""
    wanted = given.get("response_model")
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        wanted = _schema(wanted)
    made = digest(
        where,
        f"{llm.provider}/{llm.model}",
        messages(given["messages"]),
        canonical(given.get("tools")),
        canonical(wanted),
    )
    return f"r:llm:{made}"


def tool_key(where: Sequence[object], name: str, arguments: object) -> str:
    """The key of a tool call."""
    return f"r:tool:{digest(where, name, canonical(arguments))}"


def messages(given: Any) -> list[Mapping[str, Any]]:
    """A conversation in canonical form.

    CrewAI makes ids of tool calls from memory addresses where a provider gives none: they differ in
    each process, and come again when memory is used again. So calls are numbered in their order,
    and a result belongs to the last call of its id.
    """
    ids = _Ids()
    asked = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return [_message(one, ids) for one in asked]


def parsed(text: Any) -> Any:
    """Arguments as they are meant: providers give them as JSON text or as an object."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _dumped(value: BaseModel) -> Any:
    try:
        return canonical(value.model_dump(mode="json"))
    except PydanticSerializationError:
        return _ADDRESS.sub("", repr(value))


def _schema(wanted: type[BaseModel]) -> Any:
    try:
        return wanted.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return f"{wanted.__module__}.{wanted.__qualname__}"


class _Ids:
    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._next = itertools.count()

    def called(self, call_id: object) -> int:
        number = self._numbers[str(call_id)] = next(self._next)
        return number

    def answered(self, call_id: object) -> int:
        return self._numbers.get(str(call_id), -1)


def _message(message: Mapping[str, Any], ids: _Ids) -> Mapping[str, Any]:
    plain = {"role": message.get("role"), "content": canonical(message.get("content"))}
    if calls := message.get("tool_calls"):
        plain["tool_calls"] = [_tool_call(call, ids) for call in calls]
    if message.get("role") == "tool":
        plain["tool"] = [ids.answered(message.get("tool_call_id")), message.get("name")]
    if message.get("files"):
        plain["files"] = sorted(map(str, message["files"]))
    return plain


def _tool_call(call: Any, ids: _Ids) -> list[Any]:
    if not isinstance(call, Mapping):
        return [canonical(call)]
    function = call.get("function") or {}
    return [
        ids.called(call.get("id")),
        function.get("name"),
        canonical(parsed(function.get("arguments"))),
    ]
