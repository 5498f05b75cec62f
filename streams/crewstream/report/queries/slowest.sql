-- The workflows that took longest.
SELECT workflow_id, project_id AS project, workflow_type AS type, status, duration_s, tasks_total AS tasks, accepted_at
FROM workflows
WHERE accepted_at >= fromUnixTimestamp({since:Int64})
  AND accepted_at < fromUnixTimestamp({until:Int64})
  AND ended_at IS NOT NULL
ORDER BY duration_s DESC, workflow_id
LIMIT 10
