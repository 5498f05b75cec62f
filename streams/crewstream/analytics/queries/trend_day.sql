-- title: Trend by day
-- about: Tasks, success, duration and cost of each day (UTC), their 7-day mean and their change.
-- plot: day: tasks tasks_7d, mean_s mean_s_7d, cost_usd
-- param days: UInt32 = 30 -- How many days back.
-- param project: String = '' -- One project; all when empty.
WITH days AS (
    SELECT
        day,
        sumIf(finished, operation = 'task') AS tasks,
        round(sumIf(ok, operation = 'task') / nullIf(tasks, 0), 4) AS success_rate,
        round(sumIf(duration_ms_sum, operation = 'task')
              / nullIf(sumIf(timed, operation = 'task'), 0) / 1000, 3) AS mean_s,
        sumIf(r.cost_usd, operation = 'chat') AS cost_usd
    FROM v_rollup_1d AS r
    WHERE day >= toDate(now('UTC')) - toIntervalDay({days:UInt32})
      AND operation IN ('task', 'chat')
      AND ({project:String} = '' OR project_id = {project:String})
    GROUP BY day
    ORDER BY day WITH FILL
        FROM toDate(now('UTC')) - toIntervalDay({days:UInt32}) TO toDate(now('UTC')) + 1
)
SELECT
    day, tasks, success_rate, mean_s, cost_usd,
    round(avg(tasks) OVER week, 2) AS tasks_7d,
    round(avg(success_rate) OVER week, 4) AS success_rate_7d,
    round(avg(mean_s) OVER week, 3) AS mean_s_7d,
    round(tasks / nullIf(lagInFrame(tasks) OVER before, 0) - 1, 4) AS tasks_change,
    round(mean_s / nullIf(lagInFrame(mean_s) OVER before, 0) - 1, 4) AS mean_change,
    round(toFloat64(cost_usd) / nullIf(lagInFrame(toFloat64(cost_usd)) OVER before, 0) - 1, 4)
        AS cost_change
FROM days
WINDOW
    before AS (ORDER BY day ROWS BETWEEN 1 PRECEDING AND CURRENT ROW),
    week AS (ORDER BY day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW)
ORDER BY day
