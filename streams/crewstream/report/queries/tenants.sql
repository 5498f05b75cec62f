-- What each tenant's projects did and cost.
SELECT
    tenant_id AS tenant,
    project_id AS project,
    countIf(operation = 'invoke_workflow') AS workflows,
    countIf(operation = 'invoke_workflow' AND status = 'ok') / nullIf(workflows, 0) AS succeeded,
    toFloat64(sumIf(cost_usd, NOT replayed)) AS usd,
    usd / nullIf(workflows, 0) AS usd_per_workflow
FROM v_events
WHERE occurred_at >= fromUnixTimestamp({since:Int64})
  AND occurred_at < fromUnixTimestamp({until:Int64})
GROUP BY tenant, project
ORDER BY usd DESC, workflows DESC
LIMIT 20
