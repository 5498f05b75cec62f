"""Tools of the shapes: each one notes that it ran."""

from __future__ import annotations

from typing import Any

from crewai.tools import BaseTool
from crewai.tools.tool_failure import ToolFailure
from typing_extensions import override


class Price(BaseTool):
    """A tool that answers."""

    name: str = "price"
    description: str = "The list price of an article"
    log: Any = None

    @override
    def _run(self, sku: str) -> str:
        self.log.use("price", sku=sku)
        return f"{sku}=10"


class Stock(BaseTool):
    """A tool that answers with an object."""

    name: str = "stock"
    description: str = "How many of an article there are"
    log: Any = None

    @override
    def _run(self, sku: str, site: str = "main") -> Any:
        self.log.use("stock", sku=sku, site=site)
        return {"sku": sku, "site": site, "count": 4}


class Final(BaseTool):
    """A tool whose result is the answer."""

    name: str = "final_tool"
    description: str = "Writes the answer"
    result_as_answer: bool = True
    log: Any = None

    @override
    def _run(self, x: int) -> str:
        self.log.use("final_tool", x=x)
        return f"FINAL {x}"


class Bad(BaseTool):
    """A tool that raises."""

    name: str = "bad"
    description: str = "Fails"
    log: Any = None

    @override
    def _run(self, x: int) -> str:
        self.log.use("bad", x=x)
        raise ValueError("db down")


class Unwell(BaseTool):
    """A tool that says that it failed."""

    name: str = "unwell"
    description: str = "Says that it failed"
    log: Any = None

    @override
    def _run(self, x: int) -> Any:
        self.log.use("unwell", x=x)
        return ToolFailure(message="the channel is archived", code="archived")


class Long(BaseTool):
    """A tool whose answer fills a context window."""

    name: str = "long"
    description: str = "Answers at length"
    words: int = 4000
    log: Any = None

    @override
    def _run(self, x: int) -> str:
        self.log.use("long", x=x)
        return f"{x} " + "word " * self.words


class Awaited(BaseTool):
    """A tool that is a coroutine."""

    name: str = "awaited"
    description: str = "Answers later"
    log: Any = None

    @override
    def _run(self, x: int) -> str:
        self.log.use("awaited, called", x=x)
        return f"called {x}"

    @override
    async def _arun(self, x: int) -> str:
        self.log.use("awaited", x=x)
        return f"awaited {x}"
