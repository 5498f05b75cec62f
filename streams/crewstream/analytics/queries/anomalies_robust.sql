-- title: Anomalies of agents
-- about: Hours in which an agent was far from its own median, where there is no rhythm to learn.
-- param metric: String = 'error_rate' (error_rate|mean_s|tasks) -- What is looked at.
-- param days: UInt32 = 14 -- How many days of history.
-- param project: String = '' -- One project; all when empty.
-- param z: Float64 = 3.5 -- From which modified z-score on.
-- Modified z-score by the median absolute deviation (Iglewicz and Hoaglin 1993); hours with at least
-- five tasks, agents with at least twelve such hours. A deviation of 0 is taken as a small one.
WITH
    per_hour AS (
        SELECT
            project_id, agent, hour,
            sum(finished) AS tasks,
            multiIf({metric:String} = 'tasks', toFloat64(tasks),
                    {metric:String} = 'mean_s', sum(duration_ms_sum) / tasks / 1000,
                    sum(failed) / tasks) AS value
        FROM v_rollup_1h
        WHERE operation = 'task'
          AND agent != ''
          AND hour >= toStartOfHour(now()) - toIntervalDay({days:UInt32})
          AND ({project:String} = '' OR project_id = {project:String})
        GROUP BY project_id, agent, hour
        HAVING tasks >= 5
    ),
    medians AS (
        SELECT
            project_id, agent,
            groupArray((hour, value, tasks)) AS points,
            arrayReduce('median', points.2) AS middle,
            arrayReduce('median', arrayMap(v -> abs(v - middle), points.2)) AS deviation,
            greatest(deviation, abs(middle) * 0.01, 0.01) AS scale
        FROM per_hour
        GROUP BY project_id, agent
        HAVING length(points) >= 12
    )
SELECT
    point.1 AS hour,
    project_id,
    agent,
    {metric:String} AS metric,
    round(point.2, 6) AS actual,
    round(middle, 6) AS median,
    point.3 AS tasks,
    round(0.6745 * (point.2 - middle) / scale, 2) AS z_score
FROM medians
ARRAY JOIN points AS point
WHERE abs(z_score) >= {z:Float64}
ORDER BY hour DESC, project_id, agent
