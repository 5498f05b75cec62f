-- The span of the report, and the one before it of the same length: one row each.
SELECT
    occurred_at >= fromUnixTimestamp({since:Int64}) AS current,
    countIf(operation = 'invoke_workflow') AS workflows,
    countIf(operation = 'invoke_workflow' AND status = 'ok') / nullIf(workflows, 0) AS succeeded,
    countIf(operation = 'task') AS tasks,
    countIf(operation = 'task' AND status = 'ok' AND attempt <= 1)
        / nullIf(countIf(operation = 'task' AND attempt <= 1), 0) AS first_try,
    quantileIf(0.5)(assumeNotNull(duration_ms), operation = 'invoke_workflow' AND duration_ms IS NOT NULL)
        / 1000 AS workflow_p50_s,
    quantileIf(0.95)(assumeNotNull(duration_ms), operation = 'task' AND duration_ms IS NOT NULL)
        / 1000 AS task_p95_s,
    quantileIf(0.95)(assumeNotNull(queue_ms), operation = 'task' AND queue_ms IS NOT NULL)
        / 1000 AS queue_p95_s,
    toFloat64(sumIf(cost_usd, NOT replayed)) AS usd,
    usd / nullIf(workflows, 0) AS usd_per_workflow,
    sumIf(input_tokens + output_tokens, NOT replayed) AS tokens,
    countIf(operation = 'chat' AND NOT replayed) AS model_calls,
    countIf(operation IN ('chat', 'execute_tool') AND replayed) AS calls_replayed
FROM v_events
WHERE occurred_at >= fromUnixTimestamp(2 * {since:Int64} - {until:Int64})
  AND occurred_at < fromUnixTimestamp({until:Int64})
GROUP BY current
ORDER BY current DESC
