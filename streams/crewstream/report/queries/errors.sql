-- What failed, how often and where.
SELECT
    error_type,
    operation,
    project_id AS project,
    count() AS times,
    uniqExact(workflow_id) AS workflows,
    max(occurred_at) AS last
FROM v_events
WHERE status = 'error'
  AND occurred_at >= fromUnixTimestamp({since:Int64})
  AND occurred_at < fromUnixTimestamp({until:Int64})
GROUP BY error_type, operation, project
ORDER BY times DESC, error_type, operation, project
LIMIT 15
