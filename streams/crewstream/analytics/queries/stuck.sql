-- title: Stuck workflows
-- about: Running workflows of which nothing was heard for a while, and what they wait for.
-- param minutes: UInt32 = 30 -- How long is too long.
SELECT
    workflow_id, tenant_id, project_id, status,
    dateDiff('minute', updated_at, now64(6)) AS idle_minutes,
    arrayMap(t -> t.task_id, arrayFilter(t -> t.status IN ('assigned', 'waiting_retry'), tasks))
        AS open_tasks
FROM workflows
WHERE status IN ('accepted', 'running')
  AND updated_at < now64(6) - toIntervalMinute({minutes:UInt32})
ORDER BY updated_at, workflow_id
