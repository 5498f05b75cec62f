-- title: Forecast
-- about: Load, duration or cost of the coming hours with a 95 % band, beside the last hours.
-- plot: hour: actual forecast low high
-- param metric: String = 'tasks' (tasks|mean_s|cost_usd|slots) -- What is forecast; slots: tasks at once.
-- param horizon: UInt32 = 48 -- How many hours ahead, and how many back are shown.
-- param days: UInt32 = 14 -- How many days are learned from.
-- param project: String = '' -- One project; all when empty.
-- Hours far from the median of their hour of the day are pulled to its edge first, so that an incident
-- does not come again every day. The rhythm by STL (Cleveland et al. 1990), its trend of the last week
-- as a straight line; the band is that line's prediction interval with the spread of what STL leaves
-- over. No rows with less than three days of history.
WITH
    toUnixTimestamp(toStartOfHour(now('UTC'))) AS this_hour,
    greatest({days:UInt32}, 3) * 24 AS hours,
    per_hour AS (
        SELECT
            toInt64(hours) - intDiv(this_hour - toUnixTimestamp(hour), 3600) AS place,
            sumIf(finished, operation = 'task') AS tasks,
            sumIf(duration_ms_sum, operation = 'task') AS busy_ms,
            multiIf({metric:String} = 'tasks', toFloat64(tasks),
                    {metric:String} = 'cost_usd', toFloat64(sumIf(r.cost_usd, operation = 'chat')),
                    {metric:String} = 'slots', busy_ms / 3600000,
                    tasks = 0, nan,
                    busy_ms / tasks / 1000) AS value
        FROM v_rollup_1h AS r
        WHERE hour >= toDateTime(this_hour, 'UTC') - toIntervalHour(hours)
          AND hour < toDateTime(this_hour, 'UTC')
          AND operation IN ('task', 'chat')
          AND ({project:String} = '' OR project_id = {project:String})
        GROUP BY hour
    ),
    series AS (
        SELECT
            min(place) AS first,
            if({metric:String} = 'mean_s', nan, 0) AS missing,
            arrayResize(groupArrayInsertAt(nan)(value, toUInt32(place)), hours, nan) AS sparse,
            arraySlice(
                arrayFill(v -> NOT isNaN(v), arrayMap(v -> if(isNaN(v), missing, v), sparse)),
                first + 1) AS ys,
            length(ys) AS n
        FROM per_hour
        WHERE NOT isNaN(value)
        HAVING n >= 72
    ),
    rhythm AS (
        SELECT
            *,
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
    model AS (
        SELECT
            ys, n,
            seriesDecomposeSTL(calm, 24) AS stl,
            least(n, 168) AS m,
            arraySlice(stl[2], -toInt64(m)) AS trend,
            arrayReduce('simpleLinearRegression', range(m), trend) AS line,
            -- The period before the end, and the residuals of that time.
            arraySlice(stl[1], -24) AS season,
            arraySlice(arrayMap((y, s, t) -> y - s - t, calm, stl[1], stl[2]), -toInt64(m)) AS rest,
            arrayMap((r, t, x) -> r + t - (line.1 * x + line.2), rest, trend, range(m)) AS errors,
            sqrt(arraySum(e -> e * e, errors) / (m - 2)) AS spread
        FROM rhythm
    )
SELECT
    toDateTime(this_hour + h * 3600, 'UTC') AS hour,
    if(h < 0, round(ys[n + h + 1], 6), NULL) AS actual,
    round(greatest(0, line.1 * x + line.2 + season[positiveModulo(h, 24) + 1]), 6) AS forecast,
    round(greatest(0, forecast - band), 6) AS low,
    round(forecast + band, 6) AS high
FROM (
    SELECT
        ys, n, line, season, h,
        toInt64(m) + h AS x,
        1.96 * spread * sqrt(1 + 1 / m + pow(x - (m - 1) / 2, 2) / (m * (m * m - 1) / 12)) AS band
    FROM model
    ARRAY JOIN range(-toInt64(least({horizon:UInt32}, m)), toInt64({horizon:UInt32})) AS h
)
ORDER BY hour
