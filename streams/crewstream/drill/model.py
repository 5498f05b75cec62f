"""A model server that makes up its answers from what it is asked, and writes down each request.

OpenAI's chat completions over HTTP, in a process of its own that no drill kills:
`python -m crewstream.drill.model PORT FILE LATENCY_MS`. FILE gets one JSON line for each request
that was dealt with, as `calls.Call` reads it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from crewstream.drill.calls import Answer, Call, tokens_in
from crewstream.embedded.loopback import HOST

Body = Mapping[str, Any]

RETRY_AFTER_S: Final = 0.2
COMPLETION_TOKENS: Final = 10
LONGEST_REQUEST_BYTES: Final = 16 * 1024 * 1024
_ORDER: Final = re.compile(r"drill: ref=(\S+) steps=(\d+) refuse=(\d+)")
_TOOL_IN_WORDS: Final = re.compile(r"Tool Name: (\S+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, understood. `done`: tool results that it holds; `used`: our answers in it."""

    content: str
    ref: str
    steps: int
    refuse: int
    done: int
    used: Sequence[str]
    tokens: int

    @property
    def token(self) -> str:
        """The mark of the answer; whatever holds it was made by somebody who had the answer."""
        return f"ans-{self.content[:16]}"

    @property
    def topic(self) -> str:
        """What the next tool call is about."""
        return f"{self.ref}#{self.done + 1}@{self.token}"


def understand(body: Body) -> Asked:
    """Read a request. Its content is its model and its messages, whatever order their keys have."""
    messages, model = body["messages"], body["model"]
    text = "\n".join(json.dumps(message, sort_keys=True) for message in messages)
    order = _ORDER.search(text)
    ref, steps, refuse = order.groups() if order else ("", "0", "0")
    return Asked(
        content=hashlib.sha256(f"{model}\n{text}".encode()).hexdigest(),
        ref=ref,
        steps=int(steps),
        refuse=int(refuse),
        done=len(set(re.findall(rf"fact:({re.escape(ref)}#\d+)@", text))),
        used=tokens_in(text),
        tokens=len(text) // 4,
    )


def answer(body: Body, asked: Asked) -> dict[str, Any]:
    """The message that answers: the next tool call, or the report when all are done."""
    tools = [tool["function"] for tool in body.get("tools") or ()]
    in_words = _TOOL_IN_WORDS.search("\n".join(str(m.get("content")) for m in body["messages"]))
    report = f"Report on {asked.ref} after {asked.done} of {asked.steps} ({asked.token})."
    if asked.done >= asked.steps or not (tools or in_words):
        text = report if tools else f"Thought: I know.\nFinal Answer: {report}"
        return {"role": "assistant", "content": text}
    if tools:
        name = next(iter(tools[0]["parameters"]["properties"]))
        function = {"name": tools[0]["name"], "arguments": json.dumps({name: asked.topic})}
        call = {"id": asked.token, "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    name = in_words[1] if in_words else ""
    argument = json.dumps({"topic": asked.topic})
    words = f"Thought: step {asked.done + 1}.\nAction: {name}\nAction Input: {argument}"
    return {"role": "assistant", "content": words}


class Model:
    """The server: answers after `latency_s` times 0.5 to 1.5, by content."""

    def __init__(self, file: Path, latency_s: float) -> None:
        self._file, self._latency_s = file, latency_s
        self._refused: Counter[str] = Counter()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request and write it down."""
        asked_s = time.time()
        body = await request.json()
        asked = understand(body)
        # In the middle of a run, so that there is something that must not be paid again.
        if asked.done == 1 and self._refused[asked.content] < asked.refuse:
            self._refused[asked.content] += 1
            self._write(asked, Answer.REFUSED, asked_s)
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return web.json_response(
                {"error": {"message": "slow down"}}, status=429, headers=headers
            )
        await asyncio.sleep(self._latency_s * (0.5 + int(asked.content[-4:], 16) / 0xFFFF))
        message = answer(body, asked)
        return await self._send(request, asked, asked_s, _completion(body, asked, message))

    async def _send(
        self, request: web.Request, asked: Asked, asked_s: float, reply: bytes
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(reply)
        try:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
            await response.prepare(request)
            await response.write(reply)
            await response.write_eof()
        except ConnectionError:
            self._write(asked, Answer.GONE, asked_s)
        else:
            self._write(asked, Answer.GIVEN, asked_s)
        return response

    def _write(self, asked: Asked, kind: Answer, asked_s: float) -> None:
        call = Call(
            content=asked.content,
            ref=asked.ref,
            token=asked.token,
            answer=kind,
            asked_s=asked_s,
            answered_s=time.time(),
            used=asked.used,
            tokens=asked.tokens + COMPLETION_TOKENS,
        )
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(call)) + "\n")


def _completion(body: Body, asked: Asked, message: Mapping[str, Any]) -> bytes:
    used = {"prompt_tokens": asked.tokens, "completion_tokens": COMPLETION_TOKENS}
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    reply = {
        "id": f"chatcmpl-{asked.content[:24]}",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {**used, "total_tokens": asked.tokens + COMPLETION_TOKENS},
    }
    return json.dumps(reply).encode()


def main(port: int, file: Path, latency_s: float) -> None:
    """Serve until killed."""
    app = web.Application(client_max_size=LONGEST_REQUEST_BYTES)
    app.router.add_post("/v1/chat/completions", Model(file, latency_s).handle)
    web.run_app(app, host=HOST, port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) / 1000)
