-- title: Trend by hour
-- about: Tasks, success, duration and cost of each hour and their change; up to a minute behind.
-- plot: hour: tasks, mean_s p95_s, cost_usd
-- param hours: UInt32 = 24 -- How many hours back.
-- param project: String = '' -- One project; all when empty.
SELECT
    hour, tasks, success_rate, mean_s, p95_s, cost_usd,
    round(tasks / nullIf(lagInFrame(tasks) OVER before, 0) - 1, 4) AS tasks_change,
    round(mean_s / nullIf(lagInFrame(mean_s) OVER before, 0) - 1, 4) AS mean_change,
    round(toFloat64(cost_usd) / nullIf(lagInFrame(toFloat64(cost_usd)) OVER before, 0) - 1, 4)
        AS cost_change
FROM (
    SELECT
        hour,
        sumIf(finished, operation = 'task') AS tasks,
        round(sumIf(ok, operation = 'task') / nullIf(tasks, 0), 4) AS success_rate,
        round(sumIf(duration_ms_sum, operation = 'task')
              / nullIf(sumIf(timed, operation = 'task'), 0) / 1000, 3) AS mean_s,
        round(ifNotFinite(
            quantilesTDigestMergeIf(0.5, 0.95, 0.99)(duration_ms, operation = 'task')[2], NULL)
            / 1000, 3) AS p95_s,
        sumIf(r.cost_usd, operation = 'chat') AS cost_usd
    FROM v_rollup_1h AS r
    WHERE hour >= toStartOfHour(now()) - toIntervalHour({hours:UInt32})
      AND operation IN ('task', 'chat')
      AND ({project:String} = '' OR project_id = {project:String})
    GROUP BY hour
    ORDER BY hour WITH FILL
        FROM toDateTime(toStartOfHour(now()), 'UTC') - toIntervalHour({hours:UInt32})
        TO toDateTime(now(), 'UTC') STEP 3600
)
WINDOW before AS (ORDER BY hour ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
ORDER BY hour
