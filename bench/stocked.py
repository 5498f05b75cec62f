"""A month of measurements, made inside ClickHouse: what the questions are asked of."""

from __future__ import annotations

from crewstream.adapters.clickhouse import Analytics

CALLS = 20
"""Events of a workflow: itself, 3 tasks, and for each task an agent, 2 chats and some tools."""
DAYS = 30
BLOCK = 1_000_000

# A workflow's number decides who asked for it and when; the place in it, what was measured.
_EVENTS = """
INSERT INTO events
SELECT
    toUUID(concat('00000000-0000-4000-8000-', leftPad(hex(number), 12, '0'))) AS event_id,
    now64(6) - toIntervalSecond({days:UInt32} * 86400 * (1 - w / {workflows:UInt64}))
        AS occurred_at,
    concat('tenant-', toString(w % 20)) AS tenant_id,
    ['bizoholic', 'coreldove', 'thrillring'][1 + w % 3] AS project_id,
    concat('wf-', toString(w)) AS workflow_id,
    if(k = 0, '', concat('task-', toString(k % 3))) AS task_id,
    if(k = 0, '', concat(workflow_id, '/', task_id, '/', toString(attempt))) AS assignment_id,
    if(k = 0, 0, if(h % 25 = 0, 2, 1)) AS attempt,
    multiIf(k = 0, 'invoke_workflow', k <= 3, 'task', k <= 6, 'invoke_agent', k <= 12, 'chat',
            'execute_tool') AS operation,
    if(h % 33 = 0, 'error', 'ok') AS status,
    if(status = 'ok', '', ['tool.failed', 'llm.rate_limited', 'task.timeout'][1 + h % 3])
        AS error_type,
    concat('kind-', toString(w % 2)) AS workflow_type,
    if(k = 0, '', concat('crew-', toString(w % 3))) AS crew,
    if(k = 0, '', concat('type-', toString(w % 3), toString(k % 3))) AS task_type,
    if(k = 0, '', concat('Agent ', toString(w % 3), toString(k % 3))) AS agent,
    if(k > 12, concat('tool-', toString(h % 4)), '') AS tool,
    'normal' AS priority,
    if(operation = 'chat', 'openai', '') AS provider,
    if(operation = 'chat', ['gpt-4o-mini', 'gpt-4o'][1 + h % 2], '') AS model,
    false AS offline,
    operation = 'chat' AND h % 50 = 0 AS replayed,
    if(operation = 'task', toFloat64(h % 4000), NULL) AS queue_ms,
    toFloat64(200 + h % 20000) * if(k = 0, 8, 1) AS duration_ms,
    if(operation = 'chat' AND NOT replayed, 200 + h % 4000, 0) AS input_tokens,
    if(operation = 'chat' AND NOT replayed, 50 + h % 900, 0) AS output_tokens,
    intDiv(input_tokens, 3) AS cached_tokens,
    toDecimal64((input_tokens + 4 * output_tokens) / 4000000, 9) AS cost_usd,
    NULL AS cpu_ratio,
    NULL AS memory_bytes,
    concat('worker-', toString(w % 4)) AS worker,
    lower(hex(sipHash128(w))) AS trace_id,
    if(operation = 'chat', map('finish_reason', 'stop'), map()) AS attributes,
    'metrics' AS _topic,
    toInt32(w % 8) AS _partition,
    toInt64(number) AS _offset,
    occurred_at + toIntervalMillisecond(900) AS _ingested_at
FROM (
    SELECT number, intDiv(number, {calls:UInt32}) AS w, number % {calls:UInt32} AS k,
           cityHash64(number) AS h
    FROM numbers({first:UInt64}, {many:UInt64})
)
SETTINGS max_partitions_per_insert_block = 0
"""

# Two transitions of each workflow: accepted, and ended unless it is one of the last.
_TRANSITIONS = """
INSERT INTO transitions (workflow_id, tenant_id, project_id, workflow_type, version, status,
    requested_at, accepted_at, updated_at, ended_at, tasks, usage, _topic, _partition, _offset)
SELECT
    concat('wf-', toString(w)), concat('tenant-', toString(w % 20)),
    ['bizoholic', 'coreldove', 'thrillring'][1 + w % 3], concat('kind-', toString(w % 2)),
    if(over, 9, 1), if(over, if(w % 33 = 0, 'failed', 'completed'), 'running'),
    accepted, accepted, if(over, ended, accepted), if(over, ended, NULL),
    JSONExtract(
        concat('[', arrayStringConcat(arrayMap(
            n -> concat('{"task_id":"task-', toString(n), '","status":"',
                        if(over, 'succeeded', 'assigned'), '"}'), range(3)), ','), ']'),
        'Array(Tuple(task_id String, status String))'),
    CAST((2000, 400, 500, 6, 7, 0.001), 'Tuple(input_tokens Int64, output_tokens Int64,
        cached_tokens Int64, llm_calls Int64, tool_calls Int64, cost_usd Decimal(18, 9))'),
    'workflow.state', toInt32(w % 8), toInt64(number)
FROM (
    SELECT
        number, intDiv(number, 2) AS w, number % 2 = 1 AND w < {workflows:UInt64} - 50 AS over,
        now64(6) - toIntervalSecond({days:UInt32} * 86400 * (1 - w / {workflows:UInt64})) AS ended,
        ended - toIntervalSecond(60) AS accepted
    FROM numbers({many:UInt64})
)
SETTINGS max_partitions_per_insert_block = 0
"""


async def stock(analytics: Analytics, events: int) -> None:
    """Fill `events` and `transitions`, and the rollups that belong to them, merged as by time."""
    workflows = events // CALLS
    every: dict[str, int] = {"days": DAYS, "workflows": workflows}
    for first in range(0, events, BLOCK):
        block = {"calls": CALLS, "first": first, "many": min(BLOCK, events - first)}
        await analytics.raw(_EVENTS, parameters=every | block)
    await analytics.raw(_TRANSITIONS, parameters=every | {"many": 2 * workflows})
    for rollup, recent in (
        ("rollup_1h", "toIntervalMinute(15)"),
        ("rollup_1d", "toIntervalMinute(30)"),
    ):
        # Or it would compute a whole month again and again, because all of it is new.
        await analytics.command(f"SYSTEM STOP VIEW {rollup}_refresh")
        await analytics.command(await _whole(analytics, rollup, recent))
        await analytics.command(f"OPTIMIZE TABLE {rollup} FINAL")


async def _whole(analytics: Analytics, rollup: str, recent: str) -> str:
    """All of a rollup; its view computes only what is `recent`."""
    found = await analytics.query(
        "SELECT as_select FROM system.tables WHERE database = {d:String} AND name = {t:String}",
        {"d": analytics.database, "t": f"{rollup}_refresh"},
    )
    select: str = found.rows[0][0]
    if recent not in select:
        raise RuntimeError(f"the view of {rollup} does not look back by {recent}: {select}")
    return f"INSERT INTO {rollup} {select.replace(recent, f'toIntervalDay({DAYS + 1})')}"
