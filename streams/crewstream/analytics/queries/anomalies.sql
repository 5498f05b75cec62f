-- title: Anomalies
-- about: Hours that do not fit a project's daily rhythm: what was, what was to be expected.
-- plot: hour project_id: actual expected
-- param metric: String = 'tasks' (tasks|mean_s|error_rate|cost_usd) -- What is looked at.
-- param days: UInt32 = 14 -- How many days of history.
-- param project: String = '' -- One project; all when empty.
-- Hours far from the median of their hour of the day are pulled to its edge before the rhythm is
-- learned, so that an incident is not expected again. Seasonal-trend decomposition (STL, Cleveland et
-- al. 1990) by hour of the day, and Tukey's fences around what it leaves over. Only whole hours, and
-- only projects with three days of history. What is no more than chance (counts: three times their
-- root) or too little to matter is left out.
WITH
    toUnixTimestamp(toStartOfHour(now('UTC'))) AS this_hour,
    greatest({days:UInt32}, 3) * 24 AS hours,
    per_hour AS (
        SELECT
            project_id,
            toInt64(hours) - intDiv(this_hour - toUnixTimestamp(hour), 3600) AS place,
            sumIf(finished, operation = 'task') AS tasks,
            multiIf({metric:String} = 'tasks', toFloat64(tasks),
                    {metric:String} = 'cost_usd', toFloat64(sumIf(r.cost_usd, operation = 'chat')),
                    tasks = 0, nan,
                    {metric:String} = 'mean_s', sumIf(duration_ms_sum, operation = 'task') / tasks / 1000,
                    sumIf(failed, operation = 'task') / tasks) AS value
        FROM v_rollup_1h AS r
        WHERE hour >= toDateTime(this_hour, 'UTC') - toIntervalHour(hours)
          AND hour < toDateTime(this_hour, 'UTC')
          AND operation IN ('task', 'chat')
          AND ({project:String} = '' OR project_id = {project:String})
        GROUP BY project_id, hour
    ),
    series AS (
        SELECT
            project_id,
            min(place) AS first,
            -- Nothing ran: no tasks and no cost, but a mean that is not known goes on as it was.
            if({metric:String} IN ('tasks', 'cost_usd'), 0, nan) AS missing,
            arrayResize(groupArrayInsertAt(nan)(value, toUInt32(place)), hours, nan) AS sparse,
            arrayMap(v -> if(isNaN(v), missing, v), sparse) AS plain,
            arraySlice(arrayFill(v -> NOT isNaN(v), plain), first + 1) AS ys
        FROM per_hour
        WHERE NOT isNaN(value)
        GROUP BY project_id
        HAVING length(ys) >= 72
    ),
    rhythm AS (
        SELECT
            *,
            length(ys) AS n,
            arrayMap(
                p -> arrayReduce('median', arrayFilter((y, i) -> i % 24 = p, ys, range(n))),
                range(24)) AS medians,
            arrayMap(
                p -> greatest(
                    0.5 * abs(medians[p + 1]),
                    4.4478 * arrayReduce('median', arrayMap(
                        y -> abs(y - medians[p + 1]),
                        arrayFilter((y, i) -> i % 24 = p, ys, range(n))))),
                range(24)) AS edges,
            arrayMap(
                (y, i) -> greatest(
                    least(y, medians[i % 24 + 1] + edges[i % 24 + 1]),
                    medians[i % 24 + 1] - edges[i % 24 + 1]),
                ys, range(n)) AS calm
        FROM series
    ),
    parts AS (
        SELECT
            project_id, first, ys,
            seriesDecomposeSTL(calm, 24) AS stl,
            arrayMap((y, s, t) -> y - s - t, ys, stl[1], stl[2]) AS rest,
            seriesOutliersDetectTukey(rest, 0.1, 0.9, 2.0) AS scores
        FROM rhythm
    )
SELECT
    toDateTime(this_hour - (hours - (first + i)) * 3600, 'UTC') AS hour,
    project_id,
    {metric:String} AS metric,
    round(actual, 6) AS actual,
    round(seasonal + trend, 6) AS expected,
    round(score, 2) AS score,
    if(score > 0, 'high', 'low') AS direction
FROM parts
ARRAY JOIN
    range(length(ys)) AS i, ys AS actual, stl[1] AS seasonal, stl[2] AS trend, scores AS score
WHERE score != 0
  AND abs(actual - seasonal - trend) > multiIf(
      {metric:String} = 'tasks', 3 * sqrt(greatest(1, seasonal + trend)),
      {metric:String} = 'error_rate', 0.1,
      0.5 * abs(seasonal + trend))
ORDER BY hour DESC, project_id
