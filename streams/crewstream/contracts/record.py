"""What every model of an Avro record is: a frozen value without room for unknown fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict

# Past the frozen model's own __setattr__, by the slots themselves: through object.__setattr__ it
# takes twice as long. A guard test names what pydantic keeps in a model.
_put_fields = BaseModel.__dict__["__dict__"].__set__
_put_names = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_put_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_put_private = BaseModel.__dict__["__pydantic_private__"].__set__


class Record(BaseModel):
    """An Avro record; its subclasses are named after their schemas and generated from them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def changed(self, changes: Mapping[str, object]) -> Self:
        """A copy with other values in some fields, which are not checked.

        As `model_copy(update=…)`, at a sixth of its price: ten a workflow are made.
        """
        return _filled(type(self), {**self.__dict__, **changes}, self.__pydantic_fields_set__)


R = TypeVar("R", bound=Record)
_constructors: dict[type[Record], Any] = {}


def trusted(model: type[R]) -> type[R]:
    """The constructor of a model without its checks: for events that the core makes of events.

    mypy checks the arguments instead, as those of the model. Whatever it cannot see is refused when
    the event is written. Costs a quarter of the model's own.
    """
    found: Any = _constructors.get(model) or _constructor(model)
    made: type[R] = found
    return made


def _constructor(model: type[R]) -> Any:
    make = maker(model)
    defaults = {name: field.default for name, field in model.model_fields.items()}

    def construct(**values: object) -> R:
        return make({**defaults, **values})

    return _constructors.setdefault(model, construct)


def maker(model: type[R]) -> Callable[[dict[str, Any]], R]:
    """A function from all fields of a model, which it keeps, to the model; nothing is checked."""
    names = set(model.model_fields)

    def make(fields: dict[str, Any]) -> R:
        return _filled(model, fields, names)

    return make


def _filled(model: type[R], fields: dict[str, Any], names: set[str]) -> R:
    made = object.__new__(model)
    _put_fields(made, fields)
    _put_names(made, names)
    _put_extra(made, None)
    _put_private(made, None)
    return made
