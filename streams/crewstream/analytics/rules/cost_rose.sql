-- title: Cost rose
-- about: What a succeeded task of a project costs is a third more today than in the week before.
-- kind: recommendation
-- query: cost_day
WITH sides AS (
    SELECT
        project_id,
        sumIf(ok, operation = 'task' AND hour >= now() - INTERVAL 1 DAY) AS tasks,
        toFloat64(sumIf(r.cost_usd, operation = 'chat' AND hour >= now() - INTERVAL 1 DAY))
            / nullIf(tasks, 0) AS usd,
        sumIf(ok, operation = 'task' AND hour < now() - INTERVAL 1 DAY) AS tasks_before,
        toFloat64(sumIf(r.cost_usd, operation = 'chat' AND hour < now() - INTERVAL 1 DAY))
            / nullIf(tasks_before, 0) AS usd_before
    FROM v_rollup_1h AS r
    WHERE operation IN ('task', 'chat') AND hour >= now() - INTERVAL 8 DAY
    GROUP BY project_id
)
SELECT
    if(usd > 2 * usd_before, 'warning', 'info') AS severity,
    '' AS tenant_id,
    project_id,
    'cost' AS subject,
    concat('A succeeded task costs ', toString(round(usd, 5)), ' USD, ',
           toString(round(usd_before, 5)), ' USD in the week before') AS about,
    'See which model it is (`crewstream query cost`), and whether retries or longer prompts are why.' AS action,
    map('tasks', toString(tasks), 'usd', toString(round(usd, 6)),
        'usd_before', toString(round(usd_before, 6))) AS evidence
FROM sides
WHERE tasks >= 20 AND tasks_before >= 20 AND usd_before > 0 AND usd > 1.33 * usd_before
