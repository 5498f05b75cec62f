-- title: Cheaper model
-- about: Another model does the same kind of task as well for half the money.
-- kind: recommendation
-- query: cost
WITH
    done AS (
        SELECT project_id, task_type, model, count() AS tasks, countIf(status = 'ok') / tasks AS rate
        FROM v_events
        WHERE operation = 'task' AND model != '' AND occurred_at >= now() - INTERVAL 7 DAY
        GROUP BY project_id, task_type, model
        HAVING tasks >= 30
    ),
    paid AS (
        SELECT
            project_id, task_type, model,
            toFloat64(sumIf(e.cost_usd, NOT replayed)) / uniqExact(assignment_id) AS usd
        FROM v_events AS e
        WHERE operation = 'chat' AND occurred_at >= now() - INTERVAL 7 DAY
        GROUP BY project_id, task_type, model
    ),
    models AS (
        SELECT project_id, task_type, model, tasks, rate, usd
        FROM done INNER JOIN paid USING (project_id, task_type, model)
    )
SELECT
    'info' AS severity,
    '' AS tenant_id,
    dear.project_id AS project_id,
    concat(dear.task_type, ': ', dear.model) AS subject,
    concat('For ', dear.task_type, ', ', argMin(cheap.model, cheap.usd), ' costs ',
           toString(round(min(cheap.usd), 5)), ' USD a task, ', dear.model, ' ',
           toString(round(any(dear.usd), 5)), ', and succeeds as often') AS about,
    'Let this kind of task use the cheaper model, and compare what it writes first.' AS action,
    map('cheaper', argMin(cheap.model, cheap.usd), 'usd', toString(round(any(dear.usd), 6)),
        'usd_cheaper', toString(round(min(cheap.usd), 6)),
        'success_rate', toString(round(any(dear.rate), 4)),
        'success_rate_cheaper', toString(round(argMin(cheap.rate, cheap.usd), 4))) AS evidence
FROM models AS dear
INNER JOIN models AS cheap USING (project_id, task_type)
WHERE cheap.usd > 0 AND cheap.usd <= dear.usd / 2 AND cheap.rate >= dear.rate - 0.02
GROUP BY dear.project_id, dear.task_type, dear.model
