"""An OpenAI-compatible server without a model: its answer is a function of the request's schemas.

It calls each offered tool once, in order, with arguments made from the tool's JSON schema; then it
answers with an instance of the schema that is asked for, or with plain text. It keeps every
request.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Body = dict[str, Any]
_FORMAT = "according to the following OpenAPI schema: "


class OpenAIStub:
    """A server on a free port of this machine, while it is entered. `requests` are the bodies.

    It answers after `latency_s`, and counts before.
    """

    def __init__(self, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self.requests: list[Body] = []
        self.authorizations: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def tools_called(self) -> list[str]:
        """The tools whose results came back, in order, in the longest conversation."""
        longest: Body = max(self.requests, key=lambda body: len(body["messages"]))
        return [
            call["function"]["name"]
            for message in longest["messages"]
            for call in message.get("tool_calls") or ()
        ]


def answer(body: Body) -> Body:
    """The message that answers a chat completion request."""
    called = sum(message["role"] == "tool" for message in body["messages"])
    tools = [tool["function"] for tool in body.get("tools") or ()]
    if called < len(tools):
        arguments = json.dumps(sample(tools[called]["parameters"]))
        function = {"name": tools[called]["name"], "arguments": arguments}
        call = {"id": f"call_{called}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    schema = _schema(body)
    text = "stub: nothing to say" if schema is None else json.dumps(sample(schema))
    return {"role": "assistant", "content": text}


def sample(schema: Mapping[str, Any]) -> Any:
    """A value that satisfies a JSON schema: its default, null where that is allowed, or little."""
    if "default" in schema:
        return schema["default"]
    options = schema.get("anyOf")
    if options:
        return None if {"type": "null"} in options else sample(options[0])
    if "enum" in schema:
        return schema["enum"][0]
    made: dict[str, Callable[[], Any]] = {
        "object": lambda: {name: sample(s) for name, s in schema.get("properties", {}).items()},
        "array": lambda: [sample(schema["items"])],
        "integer": lambda: max(1, int(schema.get("minimum", 1))),
        "number": lambda: max(1.0, float(schema.get("minimum", 1))),
        "boolean": lambda: True,
    }
    return made.get(schema.get("type", ""), lambda: "stub")()


def _schema(body: Body) -> Mapping[str, Any] | None:
    """The schema of the answer: in the request's format, or written into the prompt by CrewAI."""
    wanted = (body.get("response_format") or {}).get("json_schema")
    if wanted:
        schema: Mapping[str, Any] = wanted["schema"]
        return schema
    for message in body["messages"]:
        _, found, rest = str(message.get("content") or "").partition(_FORMAT)
        if found:
            in_prompt: Mapping[str, Any] = json.JSONDecoder().raw_decode(rest)[0]
            return in_prompt
    return None


def _handler(stub: OpenAIStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            stub.requests.append(body)
            stub.authorizations.append(self.headers.get("authorization", ""))
            time.sleep(stub.latency_s)
            reply = json.dumps(_completion(body, len(stub.requests))).encode()
            with contextlib.suppress(ConnectionError):  # who asked may have been killed
                self._reply(reply)

        def _reply(self, reply: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        @override
        def log_message(self, *_: object) -> None:
            """Keep quiet: the requests are recorded."""

    return Handler


def _completion(body: Body, number: int) -> Body:
    message = answer(body)
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
