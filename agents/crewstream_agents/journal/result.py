"""What calls returned, as JSON, and back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Final

from crewai.utilities.agent_utils import extract_tool_call_info
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

Encoded = dict[str, Any]

PLAIN: Final = (str, int, float, bool, type(None))


def encode(
    value: Any, wanted: type[BaseModel] | None = None, shown: Callable[[Any], str] = str
) -> Encoded:
    """A result as JSON. `wanted`: the model that was asked for; `shown`: what an agent sees of it.

    A result that has no JSON is kept as what the agent saw.
    """
    if _is_plain(value):
        return {"json": value}
    if isinstance(value, BaseModel):
        return _encode_model(value, wanted, shown)
    if isinstance(value, list) and value:
        if all(isinstance(one, BaseModel) for one in value):
            return {"list": [encode(one, None, shown) for one in value]}
        calls = [extract_tool_call_info(one) for one in value]
        if all(calls):
            return {"json": [_tool_call(*call) for call in calls if call]}
    return {"text": shown(value)}


def encode_error(error: BaseException) -> Encoded:
    """What a tool raised: the model was told of it, so a replay must be told the same."""
    return {"error": [type(error).__name__, str(error)]}


def is_error(encoded: Encoded) -> bool:
    """Whether the call raised."""
    return "error" in encoded


def decode(encoded: Encoded, wanted: type[BaseModel] | None = None) -> Any:
    """The result again. Raises what the tool raised, by name and text."""
    if "error" in encoded:
        name, text = encoded["error"]
        raise type(name, (ReplayedError,), {})(text)
    if "json" in encoded:
        return encoded["json"]
    if "list" in encoded:
        return [decode(one) for one in encoded["list"]]
    if "wanted" in encoded:
        return wanted.model_validate(encoded["wanted"]) if wanted else json.dumps(encoded["wanted"])
    model = _known_model(encoded.get("class", ""))
    if model is not None:
        try:
            return model.model_validate(encoded["value"])
        except ValidationError:
            pass  # another version of the class; the text is what the agent saw
    return encoded["text"]


class ReplayedError(Exception):
    """Base of the errors that a replay raises in place of a tool's own."""


def _encode_model(
    value: BaseModel, wanted: type[BaseModel] | None, shown: Callable[[Any], str]
) -> Encoded:
    try:
        data = value.model_dump(mode="json")
    except PydanticSerializationError:  # a field that has no JSON
        return {"text": shown(value)}
    if wanted is not None and type(value) is wanted:
        return {"wanted": data}
    kind = type(value)
    return {"class": f"{kind.__module__}:{kind.__qualname__}", "value": data, "text": shown(value)}


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is list:
        return all(map(_is_plain, value))
    if kind is dict:
        return all(type(key) is str and _is_plain(one) for key, one in value.items())
    return kind in PLAIN


def _tool_call(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def _known_model(path: str) -> type[BaseModel] | None:
    """A class that is loaded already: nothing is imported on the word of a journal."""
    module, _, name = path.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None
