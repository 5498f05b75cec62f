"""A tool that says which key it needs, as those of crewai-tools do."""

from crewai.tools import BaseTool
from crewai.tools.base_tool import EnvVar
from pydantic import Field
from typing_extensions import override


class Kettle(BaseTool):
    """Boils water."""

    name: str = "kettle"
    description: str = "Boil water for a guest"
    env_vars: list[EnvVar] = Field(
        default_factory=lambda: [EnvVar(name="KETTLE_KEY", description="Key of the kettle")]
    )

    @override
    def _run(self, guest: str) -> str:
        return f"hot water for {guest}"
