-- title: Capacity
-- about: How many tasks run at once in busy hours, where that goes, and how many slots it takes.
-- plot: project_id: busy_at_once slots_needed
-- param days: UInt32 = 14 -- How many whole days are looked at.
-- param wait_s: Float64 = 30 -- How long a task may wait for a worker (95 of 100 of them).
-- Load is tasks at once (erlangs): the sum of durations over time. Busy is the 95th percentile of the
-- hours, next week's is that times the growth from week to week. Slots by square-root staffing (Halfin
-- and Whitt 1981): load + sqrt(load) lets about one task in five wait at all.
WITH
    per_hour AS (
        SELECT
            arrayJoin([project_id, '(all)']) AS project_id,
            hour,
            sum(duration_ms_sum) / 3600000 AS load
        FROM v_rollup_1h
        WHERE operation = 'task'
          AND hour >= toStartOfHour(now()) - toIntervalDay({days:UInt32})
          AND hour < toStartOfHour(now())
        GROUP BY project_id, hour
    ),
    loads AS (
        SELECT
            project_id,
            sum(load) / (24 * {days:UInt32}) AS at_once,
            quantileExactWeighted(0.95)(load, 1) AS busy_at_once,
            max(load) AS busiest_at_once,
            sumIf(load, hour >= toStartOfHour(now()) - INTERVAL 7 DAY) AS this_week,
            sumIf(load, hour < toStartOfHour(now()) - INTERVAL 7 DAY
                        AND hour >= toStartOfHour(now()) - INTERVAL 14 DAY) AS last_week
        FROM per_hour
        GROUP BY project_id
    ),
    waits AS (
        SELECT
            arrayJoin([project_id, '(all)']) AS project_id,
            quantile(0.95)(queue_ms) / 1000 AS p95_wait_s,
            maxIntersections(
                toUnixTimestamp64Milli(occurred_at) - toInt64(ifNull(duration_ms, 0)),
                toUnixTimestamp64Milli(occurred_at)) AS most_at_once
        FROM v_events
        WHERE operation = 'task' AND occurred_at >= now() - INTERVAL 1 DAY
        GROUP BY project_id
    )
SELECT
    project_id,
    round(at_once, 3) AS at_once,
    round(busy_at_once, 3) AS busy_at_once,
    round(busiest_at_once, 3) AS busiest_at_once,
    round(this_week / nullIf(last_week, 0) - 1, 4) AS weekly_growth,
    round(busy_at_once * greatest(1, ifNull(this_week / nullIf(last_week, 0), 1)), 3) AS expected_at_once,
    toUInt32(ceil(expected_at_once + sqrt(expected_at_once))) AS slots_needed,
    w.most_at_once AS most_at_once_today,
    round(w.p95_wait_s, 3) AS p95_wait_today_s,
    multiIf(w.p95_wait_s > {wait_s:Float64} AND slots_needed > most_at_once_today, 'add slots',
            w.p95_wait_s > {wait_s:Float64}, 'spread the peaks',
            most_at_once_today > 2 * slots_needed, 'slots to spare',
            'enough') AS advice
FROM loads
LEFT JOIN waits AS w USING (project_id)
ORDER BY project_id != '(all)', busy_at_once DESC, project_id
