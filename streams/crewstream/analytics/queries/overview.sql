-- title: Overview
-- about: How much ran, how well and how fast, how busy it was, and what runs now.
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param tenant: String = '' -- One tenant; all when empty.
-- param slots: UInt32 = 0 -- Tasks that may run at once, for utilisation; 0: the most that did.
WITH
    seen AS (
        SELECT
            operation, project_id, crew, agent,
            count() AS events,
            countIf(status = 'ok') AS succeeded,
            sum(duration_ms) AS busy_ms,
            quantileStateIf(0.95)(duration_ms, operation = 'invoke_workflow') AS quantiles,
            sumIf(input_tokens + output_tokens, NOT replayed) AS tokens,
            sumIf(e.cost_usd, NOT replayed) AS cost_usd
        FROM v_events AS e
        WHERE operation IN ('invoke_workflow', 'task', 'chat', 'invoke_agent', 'execute_tool')
          AND occurred_at >= now() - toIntervalHour({hours:UInt32})
          AND ({tenant:String} = '' OR tenant_id = {tenant:String})
        GROUP BY operation, project_id, crew, agent
    ),
    ran AS (
        SELECT
            sumIf(events, operation = 'invoke_workflow') AS workflows,
            sumIf(succeeded, operation = 'invoke_workflow') AS workflows_succeeded,
            sumIf(busy_ms, operation = 'invoke_workflow') / nullIf(workflows, 0) / 1000 AS mean_s,
            quantileMerge(0.95)(quantiles) / 1000 AS p95_s,
            sumIf(events, operation = 'task') AS tasks,
            sumIf(succeeded, operation = 'task') AS tasks_succeeded,
            uniqExactIf(project_id, operation = 'task') AS projects,
            uniqExactIf((project_id, crew, agent), agent != '') AS agents,
            sumIf(tokens, operation = 'chat') AS tokens,
            sumIf(s.cost_usd, operation = 'chat') AS cost_usd,
            ifNull(sumIf(busy_ms, operation = 'task'), 0) / 3600000 / {hours:UInt32} AS tasks_at_once
        FROM seen AS s
    ),
    busiest AS (
        SELECT maxIntersections(
            toUnixTimestamp64Milli(occurred_at) - toInt64(ifNull(duration_ms, 0)),
            toUnixTimestamp64Milli(occurred_at)) AS most_at_once
        FROM v_events
        WHERE operation = 'task'
          AND occurred_at >= now() - toIntervalHour({hours:UInt32})
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
    round(workflows_succeeded / nullIf(workflows, 0), 4) AS success_rate,
    round(mean_s, 3) AS mean_s,
    round(ifNotFinite(p95_s, NULL), 3) AS p95_s,
    tasks, tasks_succeeded, projects, agents, tokens, cost_usd,
    round(tasks_at_once, 6) AS tasks_at_once,
    round(tasks_at_once / nullIf(if({slots:UInt32} = 0, most_at_once, {slots:UInt32}), 0), 6)
        AS utilisation
FROM ran, busiest, going
