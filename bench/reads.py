"""What people wait for: the status of a workflow over HTTP, and its row in ClickHouse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence

import aiohttp
from bench import floor
from bench.figures import Figure, at_most, quantile
from bench.stage import PREFIX, Stage

from crewstream.client import Client

PROCESSES = ("coordinator", "worker", "projector", "recorder")
LOOK_S = 0.02
PATIENCE_S = 60.0
ROWS = "SELECT count() FROM v_events WHERE workflow_id = '{}' AND operation = 'invoke_workflow'"


async def figures(stage: Stage, reads: int = 2000, events: int = 15) -> Sequence[Figure]:
    """One reader at a time, on an idle system. Raises TimeoutError when a row does not come."""
    there = stage.installation
    async with (
        stage.running(stage.product(*PROCESSES)),
        Client(there.kafka.bootstrap, prefix=PREFIX, status_url=there.status_url) as client,
        aiohttp.ClientSession() as http,
    ):

        async def recorded(workflow_id: str) -> bool:
            async with http.post(
                there.clickhouse_url, data=ROWS.format(workflow_id).encode()
            ) as answer:
                return answer.ok and int(await answer.text()) > 0

        asked = await _run(client, "first")  # and what earlier parts left behind is recorded
        await _until(lambda: recorded(asked))
        visible_s = [await _visible_s(client, f"seen-{n}", recorded) for n in range(events)]
        url = f"{there.status_url}/v1/workflows/{asked}"
        reads_ms = [await _read_ms(http, url) for _ in range(reads)]
    return [
        Figure("reads", "status over HTTP, p50", quantile(reads_ms, 0.5), "ms"),
        Figure("reads", "status over HTTP, p99", quantile(reads_ms, 0.99), "ms", at_most(20)),
        Figure("reads", "result → row in ClickHouse, p50", quantile(visible_s, 0.5), "s"),
        Figure("reads", "result → row, slowest", max(visible_s), "s", at_most(2.0)),
    ]


async def _run(client: Client, workflow_id: str) -> str:
    request = {
        "workflow_id": workflow_id,
        "tenant_id": "bench",
        "project_id": floor.PROJECT,
        "tasks": [{"task_id": "t", "crew": "echo"}],
    }
    handle = await client.submit(request)
    await handle.result(PATIENCE_S)
    return workflow_id


async def _visible_s(
    client: Client, name: str, recorded: Callable[[str], Coroutine[None, None, bool]]
) -> float:
    workflow_id = await _run(client, name)
    began_s = time.perf_counter()
    await _until(lambda: recorded(workflow_id))
    return time.perf_counter() - began_s


async def _until(true: Callable[[], Coroutine[None, None, bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await true():  # noqa: ASYNC110 - ClickHouse tells nobody
            await asyncio.sleep(LOOK_S)


async def _read_ms(http: aiohttp.ClientSession, url: str) -> float:
    began_s = time.perf_counter()
    async with http.get(url) as answer:
        answer.raise_for_status()
        await answer.read()
    return 1000 * (time.perf_counter() - began_s)
