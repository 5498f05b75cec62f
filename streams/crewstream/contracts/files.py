"""What the YAML files of an installation have in common: strict values, every fault named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from crewstream.errors import Misconfigured

if TYPE_CHECKING:
    from pathlib import Path


class Strict(BaseModel):
    """A frozen value that knows all of its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class File(Strict):
    """All that a file says."""

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read a file; None: nothing is said. Raises Misconfigured, which names every fault."""
        if path is None:
            return cls()
        try:
            return cls.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise Misconfigured(f"{path} cannot be read: {error}") from error
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise Misconfigured(f"{path}: {'; '.join(faults)}") from error
