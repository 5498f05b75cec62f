-- title: Cost by day
-- about: Money and tokens of each day (UTC), their sum so far, and what a succeeded task cost.
-- plot: day: cost_usd, cost_so_far_usd
-- param days: UInt32 = 30 -- How many days back.
-- param tenant: String = '' -- One tenant; all when empty.
-- param project: String = '' -- One project; all when empty.
SELECT
    day, calls, input_tokens, output_tokens, cost_usd,
    sum(cost_usd) OVER (ORDER BY day) AS cost_so_far_usd,
    succeeded_tasks,
    round(toFloat64(cost_usd) / nullIf(succeeded_tasks, 0), 6) AS cost_per_success_usd
FROM (
    SELECT
        day,
        sumIf(finished - replayed, operation = 'chat') AS calls,
        sumIf(r.input_tokens, operation = 'chat') AS input_tokens,
        sumIf(r.output_tokens, operation = 'chat') AS output_tokens,
        sumIf(r.cost_usd, operation = 'chat') AS cost_usd,
        sumIf(ok, operation = 'task') AS succeeded_tasks
    FROM v_rollup_1d AS r
    WHERE day >= toDate(now('UTC')) - toIntervalDay({days:UInt32})
      AND operation IN ('task', 'chat')
      AND ({tenant:String} = '' OR tenant_id = {tenant:String})
      AND ({project:String} = '' OR project_id = {project:String})
    GROUP BY day
    ORDER BY day WITH FILL
        FROM toDate(now('UTC')) - toIntervalDay({days:UInt32}) TO toDate(now('UTC')) + 1
)
ORDER BY day
