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
    (SELECT arraySort(groupUniqArray(threshold_ms)) FROM objectives) AS thresholds,
    -- How many thresholds each event went over, counted once for all objectives; -1: not known.
    seen AS (
        SELECT
            operation, tenant_id, project_id,
            status = 'ok' AS succeeded,
            if(isNull(queue_ms), -1, arrayCount(t -> queue_ms > t, thresholds)) AS waited,
            if(isNull(duration_ms), -1, arrayCount(t -> duration_ms > t, thresholds)) AS took,
            multiIf(
                occurred_at >= now() - INTERVAL 5 MINUTE, 5,
                occurred_at >= now() - INTERVAL 30 MINUTE, 30,
                occurred_at >= now() - INTERVAL 1 HOUR, 60,
                occurred_at >= now() - INTERVAL 6 HOUR, 360,
                occurred_at >= now() - INTERVAL 3 DAY, 4320,
                100000) AS minutes,
            intDiv(dateDiff('second', occurred_at, now()), 86400) AS days,
            count() AS events
        FROM v_events
        WHERE operation IN ('task', 'invoke_workflow')
          AND status IN ('ok', 'error')
          AND occurred_at >= now() - toIntervalDay((SELECT max(window_days) FROM objectives))
        GROUP BY operation, tenant_id, project_id, succeeded, waited, took, minutes, days
    ),
    counted AS (
        SELECT
            o.name AS name,
            minutes,
            multiIf(
                o.metric LIKE '%_success', succeeded,
                o.metric = 'task_queue', waited < indexOf(thresholds, o.threshold_ms),
                took < indexOf(thresholds, o.threshold_ms)) AS good,
            sum(events) AS valid,
            if(good, 0, valid) AS bad
        FROM seen AS e
        INNER JOIN objectives AS o ON e.operation = o.operation
        WHERE e.days < o.window_days
          AND o.tenant_id IN ('', e.tenant_id)
          AND o.project_id IN ('', e.project_id)
          AND (o.metric LIKE '%_success'
               OR o.metric = 'task_queue' AND waited >= 0
               OR o.metric LIKE '%_latency' AND took >= 0 AND succeeded)
        GROUP BY name, minutes, good
    ),
    sums AS (
        SELECT
            name,
            sum(c.valid) AS valid,
            sum(c.bad) AS bad,
            sumIf(c.bad, minutes <= 5) / nullIf(sumIf(c.valid, minutes <= 5), 0) AS rate_5m,
            sumIf(c.bad, minutes <= 30) / nullIf(sumIf(c.valid, minutes <= 30), 0) AS rate_30m,
            sumIf(c.bad, minutes <= 60) / nullIf(sumIf(c.valid, minutes <= 60), 0) AS rate_1h,
            sumIf(c.bad, minutes <= 360) / nullIf(sumIf(c.valid, minutes <= 360), 0) AS rate_6h,
            sumIf(c.bad, minutes <= 4320) / nullIf(sumIf(c.valid, minutes <= 4320), 0) AS rate_3d
        FROM counted AS c
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
