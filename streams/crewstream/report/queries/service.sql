-- The service level of each project: its workflows that succeeded, against the objective.
SELECT
    project_id AS project,
    count() AS workflows,
    countIf(status = 'ok') / count() AS succeeded,
    {objective:Float64} AS objective,
    (1 - succeeded) / (1 - objective) AS budget_spent
FROM v_events
WHERE operation = 'invoke_workflow'
  AND status NOT IN ('cancelled', 'rejected')
  AND occurred_at >= fromUnixTimestamp({since:Int64})
  AND occurred_at < fromUnixTimestamp({until:Int64})
GROUP BY project
ORDER BY budget_spent DESC, project
