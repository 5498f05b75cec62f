-- title: Trend direction
-- about: Whether each project improves, is stable or degrades, by day, and how sure that is.
-- param days: UInt32 = 30 -- How many whole days back.
-- param project: String = '' -- One project; all when empty.
-- param alpha: Float64 = 0.05 -- How improbable by chance a trend must be.
-- Direction by the Mann-Kendall test (Kendall 1975, with continuity correction), slope by Sen (1968):
-- neither minds a day that went wrong. Days on which nothing ran are left out.
WITH
    days AS (
        SELECT
            project_id,
            day,
            sumIf(finished, operation = 'task') AS tasks,
            sumIf(ok, operation = 'task') / nullIf(tasks, 0) AS success_rate,
            sumIf(duration_ms_sum, operation = 'task')
                / nullIf(sumIf(timed, operation = 'task'), 0) / 1000 AS mean_s,
            toFloat64(sumIf(r.cost_usd, operation = 'chat')) / nullIf(tasks, 0) AS cost_per_task_usd
        FROM v_rollup_1d AS r
        WHERE day >= toDate(now('UTC')) - toIntervalDay({days:UInt32})
          AND day < toDate(now('UTC'))
          AND operation IN ('task', 'chat')
          AND ({project:String} = '' OR project_id = {project:String})
        GROUP BY project_id, day
        HAVING tasks > 0
    ),
    series AS (
        SELECT
            project_id,
            one.1 AS metric,
            one.2 AS better,
            arraySort(groupArray((toInt32(day), assumeNotNull(one.3)))) AS points,
            points.1 AS xs,
            points.2 AS ys
        FROM days
        ARRAY JOIN [
            ('tasks', 0, toNullable(toFloat64(tasks))),
            ('success_rate', 1, success_rate),
            ('mean_s', -1, mean_s),
            ('cost_per_task_usd', -1, cost_per_task_usd)] AS one
        WHERE isNotNull(one.3)
        GROUP BY project_id, metric, better
        HAVING length(points) >= 4
    ),
    tested AS (
        SELECT
            project_id, metric, better, xs, ys,
            length(xs) AS n,
            arrayFlatten(arrayMap(
                i -> arrayMap(j -> (ys[j] - ys[i]) / (xs[j] - xs[i]), range(i + 1, n + 1)),
                range(1, n))) AS slopes,
            arraySum(arrayMap(s -> sign(s), slopes)) AS s,
            arraySum(arrayMap(
                v -> toInt64(v) * (toInt64(v) - 1) * (2 * toInt64(v) + 5),
                arrayMap(y -> countEqual(ys, y), arrayDistinct(ys)))) AS ties,
            (n * (n - 1) * (2 * n + 5) - ties) / 18 AS variance,
            if(variance > 0 AND s != 0, (s - sign(s)) / sqrt(variance), 0) AS z,
            arrayReduce('median', slopes) AS slope,
            1 - erf(abs(z) / sqrt(2)) AS p
        FROM series
    )
SELECT
    project_id,
    metric,
    n AS days_seen,
    round(arrayAvg(ys), 6) AS mean,
    round(slope, 6) AS slope_per_day,
    round(slope / nullIf(arrayAvg(ys), 0), 6) AS change_per_day,
    round(p, 6) AS p_value,
    multiIf(p >= {alpha:Float64} OR slope = 0, 'stable',
            better = 0, if(slope > 0, 'growing', 'shrinking'),
            slope * better > 0, 'improving', 'degrading') AS direction
FROM tested
ORDER BY project_id, metric
