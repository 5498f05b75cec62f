-- title: Trend by hour
-- about: Tasks, success, duration and cost of each hour; up to a minute behind.
-- param hours: UInt32 = 24 -- How many hours back.
-- param project: String = '' -- One project; all when empty.
SELECT
    hour,
    sumIf(finished, operation = 'task') AS tasks,
    round(sumIf(ok, operation = 'task') / nullIf(tasks, 0), 4) AS success_rate,
    round(sumIf(duration_ms_sum, operation = 'task')
          / nullIf(sumIf(timed, operation = 'task'), 0) / 1000, 3) AS mean_s,
    round(ifNotFinite(quantilesTDigestMergeIf(0.5, 0.95, 0.99)(duration_ms, operation = 'task')[2],
                      NULL) / 1000, 3) AS p95_s,
    sumIf(cost_usd, operation = 'chat') AS cost_usd
FROM v_rollup_1h
WHERE hour >= toStartOfHour(now()) - toIntervalHour({hours:UInt32})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY hour
ORDER BY hour WITH FILL
    FROM toDateTime(toStartOfHour(now()), 'UTC') - toIntervalHour({hours:UInt32})
    TO toDateTime(now(), 'UTC') STEP 3600
