"""What every model of an Avro record is: a frozen value without room for unknown fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An Avro record; its subclasses are named after their schemas and generated from them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
