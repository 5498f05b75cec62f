-- How well, how fast and for how much agents did their tasks; cost is that of their own calls.
SELECT
    project_id AS project,
    agent,
    countIf(operation = 'task') AS tasks,
    countIf(operation = 'task' AND status = 'ok') / nullIf(tasks, 0) AS succeeded,
    countIf(operation = 'task' AND status = 'ok' AND attempt <= 1)
        / nullIf(countIf(operation = 'task' AND attempt <= 1), 0) AS first_try,
    quantileIf(0.95)(assumeNotNull(duration_ms), operation = 'task' AND duration_ms IS NOT NULL)
        / 1000 AS p95_s,
    toFloat64(sumIf(cost_usd, NOT replayed)) / nullIf(tasks, 0) AS usd_per_task
FROM v_events
WHERE agent != ''
  AND occurred_at >= fromUnixTimestamp({since:Int64})
  AND occurred_at < fromUnixTimestamp({until:Int64})
GROUP BY project, agent
HAVING tasks > 0
ORDER BY tasks DESC, project, agent
LIMIT 30
