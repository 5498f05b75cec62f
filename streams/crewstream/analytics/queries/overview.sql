-- title: Overview
-- about: How much ran, how well and how fast, and what runs now.
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param tenant: String = '' -- One tenant; all when empty.
WITH
    ran AS (
        SELECT
            count() AS workflows,
            countIf(status = 'ok') AS succeeded,
            avg(duration_ms) / 1000 AS mean_s,
            quantile(0.95)(duration_ms) / 1000 AS p95_s
        FROM v_events
        WHERE operation = 'invoke_workflow'
          AND occurred_at >= now() - toIntervalHour({hours:UInt32})
          AND ({tenant:String} = '' OR tenant_id = {tenant:String})
    ),
    used AS (
        SELECT
            countIf(operation = 'task') AS tasks,
            countIf(operation = 'task' AND status = 'ok') AS tasks_succeeded,
            uniqExactIf(project_id, operation = 'task') AS projects,
            uniqExactIf((project_id, crew, agent), agent != '') AS agents,
            sumIf(input_tokens + output_tokens, operation = 'chat' AND NOT replayed) AS tokens,
            sumIf(cost_usd, operation = 'chat' AND NOT replayed) AS cost_usd
        FROM v_events
        WHERE occurred_at >= now() - toIntervalHour({hours:UInt32})
          AND ({tenant:String} = '' OR tenant_id = {tenant:String})
    ),
    going AS (
        SELECT count() AS active
        FROM workflows
        WHERE status IN ('accepted', 'running', 'paused')
          AND ({tenant:String} = '' OR tenant_id = {tenant:String})
    )
SELECT
    multiIf(workflows = 0, 'idle', success_rate >= 0.95, 'excellent', success_rate >= 0.9, 'good',
            success_rate >= 0.8, 'degraded', 'critical') AS health,
    active AS active_workflows,
    workflows,
    round(succeeded / nullIf(workflows, 0), 4) AS success_rate,
    round(ifNotFinite(mean_s, NULL), 3) AS mean_s,
    round(ifNotFinite(p95_s, NULL), 3) AS p95_s,
    tasks, tasks_succeeded, projects, agents, tokens, cost_usd
FROM ran, used, going
