"""Dead letters as people and programs see them on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from crewstream.cli import shell

if TYPE_CHECKING:
    from crewstream.app.letters import Filed
    from crewstream.records import Inbound

COLUMNS = ("id", "died", "topic", "key", "error", "why", "replays", "mark")
SHOWN_WHY, SHOWN_BYTES, LINE_BYTES = 80, 512, 16


def told(filed: Filed) -> dict[str, Any]:
    """A letter without its value, ready for JSON."""
    letter = filed.letter
    return {
        "id": letter.id,
        "at": f"{filed.partition}@{filed.offset}",
        "died": (letter.failed_at or filed.at).isoformat(timespec="seconds"),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": filed.key,
        "tenant": letter.tenant_id,
        "error_type": letter.error_type,
        "error": letter.error,
        "schema_id": letter.schema_id,
        "replays": letter.replays,
        "mark": filed.mark or "",
    }


def table(found: Sequence[Filed]) -> None:
    """One line a letter."""
    rows = [
        (
            each["id"],
            each["died"],
            f"{each['topic']}[{each['partition']}]@{each['offset']}",
            each["key"],
            each["error_type"],
            each["error"][:SHOWN_WHY],
            each["replays"] or "",
            each["mark"],
        )
        for each in map(told, found)
    ]
    shell.write_table(COLUMNS, rows)


def content(record: Inbound) -> dict[str, Any]:
    """Headers and value, decoded when one of our schemas reads it; `undecodable` says why not."""
    from crewstream.cli.follow import described  # noqa: PLC0415
    from crewstream.contracts.codec import Codec  # noqa: PLC0415
    from crewstream.contracts.schemas import Schemas  # noqa: PLC0415

    found = described(Codec(Schemas.load()), record)
    return {
        "headers": found["headers"],
        "undecodable": found.get("undecodable"),
        "type": found.get("type"),
        "event": found.get("event"),
        "bytes": len(record.value or b""),
    }


def write(filed: Filed, record: Inbound) -> None:
    """All about one letter."""
    found = content(record)
    for name, value in (told(filed) | {"undecodable": found["undecodable"]}).items():
        if value not in (None, ""):
            print(f"{name}: {value}")
    print("headers:")
    shell.write_fields(found["headers"])
    if found["event"] is not None:
        print(f"value: {found['type']}")
        shell.write_fields(found["event"])
    else:
        print(f"value: {found['bytes']} bytes")
        print("\n".join(_dump(record.value or b"")))


def _dump(value: bytes) -> Iterator[str]:
    """The first bytes, in hexadecimal and as text."""
    for at in range(0, min(len(value), SHOWN_BYTES), LINE_BYTES):
        line = value[at : at + LINE_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)  # noqa: PLR2004 - ASCII
        yield f"    {at:08x}  {line.hex(' '):<{3 * LINE_BYTES}} {text}"
    if len(value) > SHOWN_BYTES:
        yield f"    … {len(value) - SHOWN_BYTES} more: --raw writes all of them"
