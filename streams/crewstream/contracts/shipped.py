"""Where the data files that ship with crewstream are: topics.yaml, schemas/avro, examples."""

from __future__ import annotations

from pathlib import Path


def shipped() -> Path:
    """The folder that holds `topics.yaml`, `schemas/avro` and `examples`.

    In a wheel it is inside the package; in a checkout, editable installs included, it is the
    root of the repository.
    """
    packaged = Path(__file__).parents[1] / "_contracts"
    return packaged if packaged.is_dir() else Path(__file__).parents[3]
