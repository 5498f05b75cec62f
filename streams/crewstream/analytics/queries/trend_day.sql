-- title: Trend by day
-- about: Tasks, success, duration and cost of each day (UTC), their 7-day mean and their change.
-- plot: day: tasks tasks_7d, mean_s mean_s_7d, cost_usd
-- param days: UInt32 = 30 -- How many days back.
-- param project: String = '' -- One project; all when empty.
-- Costs are summed apart: merging the digests of calls as well would take most of the time.
WITH costs AS (
    SELECT day, sum(r.cost_usd) AS cost_usd
    FROM v_rollup_1d AS r
    WHERE day >= toDate(now('UTC')) - toIntervalDay({days:UInt32})
      AND operation = 'chat'
      AND ({project:String} = '' OR project_id = {project:String})
    GROUP BY day
),
days AS (
    SELECT
        day,
        sum(finished) AS tasks,
        round(sum(ok) / nullIf(tasks, 0), 4) AS success_rate,
        round(sum(duration_ms_sum) / nullIf(sum(timed), 0) / 1000, 3) AS mean_s,
        round(ifNotFinite(quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_ms)[2], NULL) / 1000, 3)
            AS p95_s
    FROM v_rollup_1d
    WHERE day >= toDate(now('UTC')) - toIntervalDay({days:UInt32})
      AND operation = 'task'
      AND ({project:String} = '' OR project_id = {project:String})
    GROUP BY day
    ORDER BY day WITH FILL
        FROM toDate(now('UTC')) - toIntervalDay({days:UInt32}) TO toDate(now('UTC')) + 1
)
SELECT
    day, tasks, success_rate, mean_s, p95_s, cost_usd,
    round(avg(tasks) OVER week, 2) AS tasks_7d,
    round(avg(success_rate) OVER week, 4) AS success_rate_7d,
    round(avg(mean_s) OVER week, 3) AS mean_s_7d,
    round(tasks / nullIf(lagInFrame(tasks) OVER before, 0) - 1, 4) AS tasks_change,
    round(mean_s / nullIf(lagInFrame(mean_s) OVER before, 0) - 1, 4) AS mean_change,
    round(toFloat64(cost_usd) / nullIf(lagInFrame(toFloat64(cost_usd)) OVER before, 0) - 1, 4)
        AS cost_change
FROM days
LEFT JOIN costs USING (day)
WINDOW
    before AS (ORDER BY day ROWS BETWEEN 1 PRECEDING AND CURRENT ROW),
    week AS (ORDER BY day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW)
ORDER BY day
