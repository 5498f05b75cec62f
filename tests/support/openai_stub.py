"""An OpenAI-compatible server without a model: its answer is a function of the request's schemas.

It calls each offered tool once, in order, with arguments made from the tool's JSON schema; then it
answers with an instance of the schema that is asked for, or with plain text. It keeps every
request, and answers some of them as providers do on a bad day.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Body = dict[str, Any]
_FORMAT = "according to the following OpenAPI schema: "


@dataclass(frozen=True)
class Fault:
    """How a request goes wrong: a status, seconds of silence, a body that breaks off.

    `finish` is what the answer says of its end, such as "length".
    """

    status: int = 200
    retry_after: str | None = None
    hang_s: float = 0.0
    cut: bool = False
    finish: str = ""


class OpenAIStub:
    """A server on a free port of this machine, while it is entered. `requests` are the bodies.

    It answers after `latency_s`, and counts before. `fault` says what is wrong with a request, by
    its number from 1 and its body.
    """

    def __init__(
        self,
        latency_s: float = 0.0,
        fault: Callable[[int, Body], Fault | None] = lambda *_: None,
    ) -> None:
        self.latency_s, self.fault = latency_s, fault
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
            number = len(stub.requests)
            fault = stub.fault(number, body) or Fault()
            time.sleep(stub.latency_s + fault.hang_s)
            with contextlib.suppress(ConnectionError):  # who asked may have been killed
                if fault.status != 200:
                    self._reply(b'{"error": {"message": "a bad day"}}', fault)
                elif body.get("stream"):
                    self._reply(_events(_completion(body, number)), fault, "text/event-stream")
                else:
                    told = _completion(body, number)
                    told["choices"][0]["finish_reason"] = (
                        fault.finish or told["choices"][0]["finish_reason"]
                    )
                    self._reply(json.dumps(told).encode(), fault)

        def _reply(self, reply: bytes, fault: Fault, kind: str = "application/json") -> None:
            self.send_response(fault.status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(reply)))
            if fault.retry_after is not None:
                self.send_header("retry-after", fault.retry_after)
            self.end_headers()
            self.wfile.write(reply[: len(reply) // 2] if fault.cut else reply)
            self.close_connection = self.close_connection or fault.cut

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


def _events(told: Body) -> bytes:
    """A completion as a stream: its words one by one, its end, what it used."""
    head = {name: told[name] for name in ("id", "created", "model")}
    head |= {"object": "chat.completion.chunk"}
    words = str(told["choices"][0]["message"]["content"]).split(" ")
    chunks: list[Body] = [
        {"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]}
        for word in words
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": told["usage"]})
    lines = [f"data: {json.dumps(head | chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()
