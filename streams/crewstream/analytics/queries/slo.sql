-- title: Service levels
-- about: What every objective of `slo` came to, what is left of its error budget, how fast it burns.
-- plot: name: budget_left
-- param name: String = '' -- One objective; all when empty.
-- A burn rate of 1 uses the budget up exactly at the end of the window. `page` and `ticket` are the
-- multi-window alerts of the SRE Workbook (Google 2018, chapter 5). Cancelled and rejected do not count.
WITH
    objectives AS (
        SELECT
            name, tenant_id, project_id, metric, objective, threshold_ms, window_days,
            if(startsWith(metric, 'workflow'), 'invoke_workflow', 'task') AS operation
        FROM v_slo
        WHERE active AND ({name:String} = '' OR name = {name:String})
    ),
    counted AS (
        SELECT
            o.name AS name,
            multiIf(o.metric LIKE '%_success', e.status = 'ok',
                    o.metric = 'task_queue', e.queue_ms <= o.threshold_ms,
                    e.duration_ms <= o.threshold_ms) AS good,
            count() AS valid,
            countIf(NOT good) AS bad,
            countIf(e.occurred_at >= now() - INTERVAL 5 MINUTE) AS valid_5m,
            countIf(NOT good AND e.occurred_at >= now() - INTERVAL 5 MINUTE) AS bad_5m,
            countIf(e.occurred_at >= now() - INTERVAL 30 MINUTE) AS valid_30m,
            countIf(NOT good AND e.occurred_at >= now() - INTERVAL 30 MINUTE) AS bad_30m,
            countIf(e.occurred_at >= now() - INTERVAL 1 HOUR) AS valid_1h,
            countIf(NOT good AND e.occurred_at >= now() - INTERVAL 1 HOUR) AS bad_1h,
            countIf(e.occurred_at >= now() - INTERVAL 6 HOUR) AS valid_6h,
            countIf(NOT good AND e.occurred_at >= now() - INTERVAL 6 HOUR) AS bad_6h,
            countIf(e.occurred_at >= now() - INTERVAL 3 DAY) AS valid_3d,
            countIf(NOT good AND e.occurred_at >= now() - INTERVAL 3 DAY) AS bad_3d
        FROM v_events AS e
        INNER JOIN objectives AS o ON e.operation = o.operation
        WHERE e.operation IN ('task', 'invoke_workflow')
          AND e.status IN ('ok', 'error')
          AND e.occurred_at >= now() - INTERVAL 80 DAY
          AND e.occurred_at >= now() - toIntervalDay(o.window_days)
          AND o.tenant_id IN ('', e.tenant_id)
          AND o.project_id IN ('', e.project_id)
          AND (o.metric LIKE '%_success'
               OR o.metric = 'task_queue' AND isNotNull(e.queue_ms)
               OR o.metric LIKE '%_latency' AND isNotNull(e.duration_ms) AND e.status = 'ok')
        GROUP BY name, good
    ),
    sums AS (
        SELECT
            name,
            sum(valid) AS valid, sum(bad) AS bad,
            sum(bad_5m) / nullIf(sum(valid_5m), 0) AS rate_5m,
            sum(bad_30m) / nullIf(sum(valid_30m), 0) AS rate_30m,
            sum(bad_1h) / nullIf(sum(valid_1h), 0) AS rate_1h,
            sum(bad_6h) / nullIf(sum(valid_6h), 0) AS rate_6h,
            sum(bad_3d) / nullIf(sum(valid_3d), 0) AS rate_3d
        FROM counted
        GROUP BY name
    )
SELECT
    o.name AS name, o.tenant_id AS tenant_id, o.project_id AS project_id, o.metric AS metric,
    o.objective AS objective, o.threshold_ms AS threshold_ms, o.window_days AS window_days,
    s.valid AS events,
    s.valid - s.bad AS good_events,
    round(good_events / nullIf(events, 0), 6) AS attained,
    round(1 - s.bad / nullIf(events, 0) / (1 - objective), 4) AS budget_left,
    round(ifNull(s.rate_5m, 0) / (1 - objective), 3) AS burn_5m,
    round(ifNull(s.rate_30m, 0) / (1 - objective), 3) AS burn_30m,
    round(ifNull(s.rate_1h, 0) / (1 - objective), 3) AS burn_1h,
    round(ifNull(s.rate_6h, 0) / (1 - objective), 3) AS burn_6h,
    round(ifNull(s.rate_3d, 0) / (1 - objective), 3) AS burn_3d,
    multiIf(events = 0, 'no data',
            (burn_1h > 14.4 AND burn_5m > 14.4) OR (burn_6h > 6 AND burn_30m > 6), 'page',
            burn_3d > 1 AND burn_6h > 1, 'ticket',
            budget_left <= 0, 'exhausted',
            'ok') AS state
FROM objectives AS o
LEFT JOIN sums AS s ON s.name = o.name
ORDER BY budget_left, name
