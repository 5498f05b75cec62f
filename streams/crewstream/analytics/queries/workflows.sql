-- title: Workflows
-- about: The latest workflows and where they are.
-- param limit: UInt32 = 20 -- How many.
-- param status: String = '' -- One status; all when empty.
-- param project: String = '' -- One project; all when empty.
-- param tenant: String = '' -- One tenant; all when empty.
-- Found first by what is narrow: the tasks of every workflow would be read to count those of a few.
SELECT
    workflow_id, tenant_id, project_id, workflow_type, status, accepted_at,
    round(duration_s, 3) AS duration_s, tasks_succeeded, tasks_failed, tasks_total, cost_usd, error_type
FROM workflows
WHERE (tenant_id, workflow_id) IN (
    SELECT tenant_id, workflow_id
    FROM workflows
    WHERE ({status:String} = '' OR status = {status:String})
      AND ({project:String} = '' OR project_id = {project:String})
      AND ({tenant:String} = '' OR tenant_id = {tenant:String})
    ORDER BY accepted_at DESC, workflow_id
    LIMIT {limit:UInt32})
ORDER BY accepted_at DESC, workflow_id
