-- title: Workflows
-- about: The latest workflows and where they are.
-- param limit: UInt32 = 20 -- How many.
-- param status: String = '' -- One status; all when empty.
-- param project: String = '' -- One project; all when empty.
-- param tenant: String = '' -- One tenant; all when empty.
-- Found first by what is narrow, then looked up by their key. Of the table, not of the view `workflows`,
-- which reads all of a task to count the failed ones.
SELECT
    workflow_id, tenant_id, project_id, workflow_type, status, accepted_at,
    round(dateDiff('microsecond', accepted_at, ifNull(ended_at, updated_at)) / 1000000, 3) AS duration_s,
    countEqual(tasks.status, 'succeeded') AS tasks_succeeded,
    countEqual(tasks.status, 'failed') AS tasks_failed,
    length(tasks.status) AS tasks_total,
    usage.cost_usd AS cost_usd,
    failure.error_type AS error_type
FROM workflow_latest FINAL
WHERE (tenant_id, workflow_id) IN (
    SELECT tenant_id, workflow_id
    FROM workflow_latest FINAL
    WHERE ({status:String} = '' OR status = {status:String})
      AND ({project:String} = '' OR project_id = {project:String})
      AND ({tenant:String} = '' OR tenant_id = {tenant:String})
    ORDER BY accepted_at DESC, workflow_id
    LIMIT {limit:UInt32})
ORDER BY accepted_at DESC, workflow_id
