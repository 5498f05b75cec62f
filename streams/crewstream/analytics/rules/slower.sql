-- title: Slower
-- about: An agent takes a third longer for its tasks today than in the week before.
-- kind: recommendation
-- query: agents
WITH sides AS (
    SELECT
        project_id, agent,
        sumIf(timed, hour >= now() - INTERVAL 1 DAY) AS tasks,
        sumIf(duration_ms_sum, hour >= now() - INTERVAL 1 DAY) / nullIf(tasks, 0) / 1000 AS mean_s,
        sumIf(timed, hour < now() - INTERVAL 1 DAY) AS tasks_before,
        sumIf(duration_ms_sum, hour < now() - INTERVAL 1 DAY) / nullIf(tasks_before, 0) / 1000
            AS mean_s_before
    FROM v_rollup_1h
    WHERE operation = 'task' AND agent != '' AND hour >= now() - INTERVAL 8 DAY
    GROUP BY project_id, agent
)
SELECT
    if(mean_s > 2 * mean_s_before, 'warning', 'info') AS severity,
    '' AS tenant_id,
    project_id,
    agent AS subject,
    concat(agent, ' takes ', toString(round(mean_s, 1)), ' s a task, ',
           toString(round(mean_s_before, 1)), ' s in the week before') AS about,
    'See whether its model or a tool became slower (`crewstream query llm`, `crewstream query tools`).'
        AS action,
    map('tasks', toString(tasks), 'mean_s', toString(round(mean_s, 3)),
        'mean_s_before', toString(round(mean_s_before, 3))) AS evidence
FROM sides
WHERE tasks >= 20 AND tasks_before >= 20 AND mean_s > 1.33 * mean_s_before
