"""The engine of a folder, for whoever asks over HTTP: one handle a request. Runs what was asked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from crewstream.embedded import clickhouse_guard as guard
from crewstream.embedded import clickhouse_hello as hello
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from crewstream.embedded.clickhouse_wire import Asked

DISPLAY_NAME = "crewstream"
MOST_WHOLE_BYTES = 128 << 20
"""What an answer that is one document may hold before it is written, as the engine counts."""

_NAME = re.compile(r"[A-Za-z_]\w*")
# The engine gives a result in pieces; only in these formats are the pieces one document.
_STREAMED = frozenset(
    {
        *("CSV", "TSV", "TSVRaw", "TabSeparated", "TabSeparatedRaw"),
        *("JSONEachRow", "JSONCompactEachRow", "JSONStringsEachRow"),
        *("Native", "RowBinary"),
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer under way: each of `pieces` may block. To be closed, whatever becomes of it."""

    pieces: Iterator[bytes]
    summary: Mapping[str, int] = field(default_factory=dict)
    opened: Sequence[Any] = ()

    def close(self) -> None:
        """Give up what the engine holds for it."""
        for each in self.opened:
            each.close()


class Engine:
    """The engine of a folder: one handle for every request, so that none sees another's settings.

    The handle that it keeps open is what keeps the engine running. Not to be used after a fork.
    """

    def __init__(self, path: str, database: str) -> None:
        self._path = os.path.realpath(path)
        self._database = database
        try:
            self._kept = self._handle()
        except RuntimeError as error:
            raise StartFailed(
                f"ClickHouse does not open {self._path}; does another process use it? {error}"
            ) from error
        self._kept.query(f"CREATE DATABASE IF NOT EXISTS {_identifier(database)}")
        self.timezone = _text(self._kept, "SELECT timezone()")
        self._version = _text(self._kept, "SELECT version()")
        names = _text(self._kept, "SELECT lower(name) FROM system.table_functions")
        self._table_functions = frozenset(names.split())

    def close(self) -> None:
        """Give up the engine; it stops when no other handle in this process is open."""
        self._kept.close()

    def answer(self, asked: Asked) -> Answer:
        """Run what was asked. Raises what the engine raises, or Denied."""
        if asked.protocol and hello.is_asked(asked.sql, asked.fmt):
            # The engine writes Native as of no revision, so the client is to read it as such.
            told = (DISPLAY_NAME, self._version, 0, self.timezone)
            return Answer(iter((hello.block(told, asked.protocol),)))
        handle = self._handle()
        try:
            return self._answer(handle, asked)
        except BaseException:
            handle.close()
            raise

    def _answer(self, handle: Any, asked: Asked) -> Answer:
        streams = asked.is_query and asked.fmt in _STREAMED and not asked.waits
        sql = self._prepared(handle, asked, whole=asked.is_query and not streams)
        if asked.is_insert:
            return self._inserted(handle, asked)
        return (self._streamed if streams else self._whole)(handle, sql, asked)

    def _handle(self) -> Any:
        import chdb  # noqa: PLC0415 - half a gigabyte: only the process that owns the data loads it

        return chdb.connect(self._path)

    def _prepared(self, handle: Any, asked: Asked, *, whole: bool) -> str:
        """Set the handle up for the request; the SQL to run."""
        # Where clients are that were told of no database; the engine's own is made of files.
        named = "" if asked.database == "default" else asked.database
        database = named or self._database
        handle.query(f"USE {_identifier(database)}")
        settings = guard.reader_settings(asked.settings) if asked.read_only else asked.settings
        if whole:
            settings = {"max_result_bytes": str(MOST_WHOLE_BYTES), **settings}
        for name in settings:
            if not _NAME.fullmatch(name):
                raise guard.Denied(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
        if settings:
            pairs = [f"{name} = {_literal(value)}" for name, value in settings.items()]
            handle.query(f"SET {', '.join(pairs)}")
        return self._judged(handle, asked, database) if asked.read_only else asked.sql

    def _judged(self, handle: Any, asked: Asked, database: str) -> str:
        """A reader's statement, as the engine understands it. Raises Denied."""
        guard.check_database(database)
        # Sealed first: the parse of a hostile statement is itself only allowed to read.
        handle.query("SET readonly = 1")
        if asked.is_insert:
            raise guard.Denied(164, "READONLY", "Cannot execute query in readonly mode")
        formatted = _text(handle, f"SELECT formatQuerySingleLine({_literal(asked.sql)})")
        tree = handle.query(f"EXPLAIN AST {formatted}", "TSVRaw", params=dict(asked.parameters))
        guard.check(formatted, tree.bytes().decode(), self._table_functions)
        return formatted

    def _inserted(self, handle: Any, asked: Asked) -> Answer:
        with handle.send_insert(asked.insert_head, asked.fmt) as insert:
            insert.append(asked.data)
            done = insert.finish()
        handle.close()
        written = {"written_rows": done.rows_written, "written_bytes": done.bytes_written}
        return Answer(iter(()), written)

    def _whole(self, handle: Any, sql: str, asked: Asked) -> Answer:
        result = handle.query(sql, asked.fmt, params=dict(asked.parameters))
        answer: bytes = result.bytes() or b""
        summary = {
            "read_rows": result.storage_rows_read(),
            "read_bytes": result.storage_bytes_read(),
            "result_rows": result.rows_read(),  # its name is that of the process that reads it
            "result_bytes": len(answer),
            "elapsed_ns": int(result.elapsed() * 1e9),
        }
        handle.close()
        return Answer(iter((answer,)), summary)

    def _streamed(self, handle: Any, sql: str, asked: Asked) -> Answer:
        stream = handle.send_query(sql, asked.fmt, params=dict(asked.parameters))
        pieces = (piece.bytes() for piece in stream)
        # Computed before the status line goes out: most errors show here.
        first = next(pieces, b"")
        return Answer(chain((first,), pieces), opened=(stream, handle))


def _text(handle: Any, sql: str) -> str:
    answer: bytes = handle.query(sql, "TSVRaw").bytes()
    return answer.decode().strip()


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
