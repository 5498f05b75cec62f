"""Steps that keep state, start a crew, ask a model by name, and take what caused them."""

from typing import Any

from crewai import LLM
from crewai.flow.flow import Flow, listen, start
from pydantic import BaseModel

from tea_flow.crews.blend_crew.blend_crew import BlendCrew


class Order(BaseModel):
    """What the flow knows."""

    leaf: str = ""
    caused_by: str = ""
    blend: str = ""


class TeaFlow(Flow[Order]):
    """Blend what was ordered."""

    @start()
    def take(self, crewai_trigger_payload: dict[str, Any] | None = None) -> None:
        payload = crewai_trigger_payload or {}
        self.state.caused_by = str(payload.get("description", ""))

    @listen(take)
    def blend(self) -> str:
        result = BlendCrew().crew().kickoff(inputs={"leaf": self.state.leaf})
        self.state.blend = result.raw
        return result.raw

    @listen(blend)
    async def price(self) -> dict[str, str]:
        said = LLM(model="groq/llama-3").call(f"What does {self.state.leaf} cost?")
        return {"leaf": self.state.leaf, "said": str(said)}
