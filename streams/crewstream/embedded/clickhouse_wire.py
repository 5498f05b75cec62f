"""ClickHouse's HTTP protocol as values: what a request asks for, how an answer is written."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import cramjam

from crewstream.embedded import clickhouse_blocks as blocks
from crewstream.embedded.clickhouse_guard import Denied, without_literals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Parameters of the protocol itself; every other one is a setting or starts with param_.
_PROTOCOL = frozenset(
    {
        "buffer_size",
        "client_protocol_version",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "http_response_buffer_size",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "user",
        "wait_end_of_query",
    }
)
_INSERT_HEAD = re.compile(
    rb"""\s*INSERT\s+INTO\s+(?:TABLE\s+)?(?:`[^`]*`|"[^"]*"|[\w.])+\s*(?:\([^()]*\)\s*)?"""
    rb"""(?:SETTINGS\b[^;]*?)?\bFORMAT\s+\w+[ \t]*\r?\n?""",
    re.IGNORECASE,
)
_INSERT_HEAD_BYTES = 1 << 16
_INSERT = re.compile(r"\s*INSERT\b", re.IGNORECASE)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*(?:SETTINGS\b.*)?;?\s*$", re.IGNORECASE | re.DOTALL)
_COMMENTS = re.compile(r"\A(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)+", re.DOTALL)
_CONTENT_TYPES = {
    "CSV": "text/csv; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "CSVWithNames": "text/csv; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
}
_FORMAT_NAME = re.compile(r"\w+")
# What a server counts of a query, in its own order.
_SUMMARY = (
    *("read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read"),
    *("result_rows", "result_bytes", "elapsed_ns"),
)
# Source: ClickHouse, src/Server/HTTP/exceptionCodeToHTTPStatus.cpp.
_STATUS: Mapping[int, int] = {
    **dict.fromkeys((6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168), 400),
    **dict.fromkeys((321, 376, 427, 441), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336), 404),
    **dict.fromkeys((192, 193, 497, 516), 403),
    48: 501,
    159: 408,
    194: 401,
}
SERVER_ERROR = 500


NATIVE = "clickhouse"
"""ClickHouse's own blocks: not an encoding of HTTP, so no header tells of them."""

COMPRESSORS: Mapping[str, Callable[[], Any]] = {
    NATIVE: blocks.Blocks,
    "zstd": cramjam.zstd.Compressor,
    "lz4": cramjam.lz4.Compressor,
    "br": cramjam.brotli.Compressor,
    "gzip": cramjam.gzip.Compressor,
}


class Squeezed:
    """Compresses an answer piece by piece: the client need not wait for the end of it."""

    def __init__(self, compression: str | None) -> None:
        self._compressor = COMPRESSORS[compression]() if compression else None

    def piece(self, piece: bytes) -> bytes:
        """What to send for `piece`."""
        if not self._compressor:
            return piece
        self._compressor.compress(piece)
        return bytes(self._compressor.flush())

    def end(self) -> bytes:
        """What to send after the last piece."""
        return bytes(self._compressor.finish()) if self._compressor else b""


@dataclass(frozen=True, slots=True)
class User:
    """Who may ask; a user that is not read-only may do all that the process may."""

    name: str
    password: str = field(default="", repr=False)
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: one statement, the rows that go with it, and how the answer is wanted."""

    read_only: bool
    sql: str
    data: bytes | None
    fmt: str
    database: str | None
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    query_id: str
    compression: str | None
    """A key of COMPRESSORS; None: as it is."""
    protocol: int = 0
    """The revision of ClickHouse's protocol that the client speaks; 0: it did not say."""
    waits: bool = False
    """The client wants to know how it ended before the first byte of the answer."""

    @property
    def is_query(self) -> bool:
        return self.sql[:6].upper() == "SELECT" or self.sql[:4].upper() == "WITH"

    @property
    def is_insert(self) -> bool:
        return self.data is not None

    @property
    def insert_head(self) -> str:
        """The INSERT without its FORMAT."""
        return _FORMAT.sub("", self.sql)

    @property
    def content_encoding(self) -> str | None:
        """What the header says; None: there is none."""
        return None if self.compression == NATIVE else self.compression

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPES.get(self.fmt, "application/octet-stream")


def user_of(query: Mapping[str, str], headers: Mapping[str, str], users: Sequence[User]) -> User:
    """Who asks, by header, basic authentication or parameter; raises Denied for a stranger."""
    name, password = _credentials(query, headers)
    for user in users:
        same = hmac.compare_digest(user.password.encode(), password.encode())
        if user.name == name and same:
            return user
    raise Denied(516, "AUTHENTICATION_FAILED", f"{name}: Authentication failed")


def _credentials(query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str]:
    if "X-ClickHouse-User" in headers:
        return headers["X-ClickHouse-User"], headers.get("X-ClickHouse-Key", "")
    kind, _, credentials = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            name, _, password = base64.b64decode(credentials).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name, password = "", ""
        return name, password
    return query.get("user", "default"), query.get("password", "")


def asked(
    method: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes, user: User
) -> Asked | None:
    """What a request asks for; None when it asks nothing. A GET or HEAD only reads, whoever asks.

    Raises Denied for what the embedded engine cannot do.
    """
    sql, data = _statement(query.get("query", ""), body)
    if not sql:
        return None
    return Asked(
        read_only=user.read_only or method in {"GET", "HEAD"},
        sql=sql,
        data=data,
        fmt=_format(sql, query, headers),
        database=query.get("database") or headers.get("X-ClickHouse-Database"),
        parameters={k[6:]: v for k, v in query.items() if k.startswith("param_")},
        settings={
            k: v for k, v in query.items() if k not in _PROTOCOL and not k.startswith("param_")
        },
        query_id=query.get("query_id") or str(uuid4()),
        compression=compression(query, headers),
        protocol=_revision(query.get("client_protocol_version", "")),
        waits=query.get("wait_end_of_query") in {"1", "true"},
    )


def _format(sql: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    if inline := _FORMAT.search(without_literals(sql)):
        return inline[1]
    asked = query.get("default_format") or headers.get("X-ClickHouse-Format", "TabSeparated")
    if not _FORMAT_NAME.fullmatch(asked):
        raise Denied(73, "UNKNOWN_FORMAT", f"Unknown format {asked}")
    return asked


def _revision(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0  # noqa: PLR2004 - no revision is


def _not_implemented(what: str) -> Denied:
    return Denied(48, "NOT_IMPLEMENTED", f"The embedded engine does not know {what}")


def form(fields: Mapping[str, object]) -> Mapping[str, str]:
    """The parameters in a form's fields; raises Denied for a file in it: an external table."""
    for name, value in fields.items():
        if not isinstance(value, str):
            raise _not_implemented(f"external tables ({name}); write the rows into the query")
    return {name: str(value) for name, value in fields.items()}


def summary(counted: Mapping[str, int]) -> str:
    """The value of X-ClickHouse-Summary: a server's fields, numbers as text."""
    return json.dumps({name: str(counted.get(name, 0)) for name in _SUMMARY})


def _statement(query: str, body: bytes) -> tuple[str, bytes | None]:
    """The SQL, and the rows of an INSERT, of a request that has either in either place."""
    if _INSERT.match(_bare(query)) and (body or _FORMAT.search(without_literals(query))):
        return _bare(query), body
    if head := not query and _INSERT_HEAD.match(body[:_INSERT_HEAD_BYTES]):
        return head[0].decode().strip(), body[head.end() :]
    both = [query, body.decode("utf-8", "replace")]
    return _bare("\n".join(part for part in both if part)), None


def _bare(sql: str) -> str:
    """`sql` without what stands before its first word and after its last."""
    return _COMMENTS.sub("", sql).rstrip().removesuffix(";")


def compression(query: Mapping[str, str], headers: Mapping[str, str]) -> str | None:
    """How an answer is to be compressed: a key of COMPRESSORS; None: not at all."""
    if query.get("compress") == "1":
        return NATIVE
    if query.get("enable_http_compression") != "1":
        return None
    accepted = [one.split(";")[0].strip() for one in headers.get("Accept-Encoding", "").split(",")]
    return next((name for name in COMPRESSORS if name in accepted and name != NATIVE), None)


def decompressed(
    body: bytes, query: Mapping[str, str], headers: Mapping[str, str], most_bytes: int
) -> bytes:
    """A request's body; aiohttp has undone every encoding of HTTP but lz4 already.

    Raises BrokenBlock.
    """
    if headers.get("Content-Encoding") == "lz4":
        body = bytes(cramjam.lz4.decompress(body))
    return blocks.decompressed(body, most_bytes) if query.get("decompress") == "1" else body


def failure(error: Exception) -> tuple[int, str, str]:
    """HTTP status, ClickHouse's error code and message of what the engine raised."""
    said = str(error)
    message = said[max(said.find("Code: "), 0) :]
    code = re.match(r"Code: (\d+)", message)
    number = int(code[1]) if code else 1002
    return _STATUS.get(number, SERVER_ERROR), str(number), message


def trailer(tag: str, error: Exception) -> bytes:
    """What ends an answer that broke off: the error, between marks that the headers announced."""
    message = failure(error)[2].strip() + "\n"
    size = len(message.encode())
    return f"\r\n__exception__\r\n{tag}\r\n{message}{size} {tag}\r\n__exception__\r\n".encode()
