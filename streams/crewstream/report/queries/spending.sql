-- Cost by hour or day and project: `step` seconds.
SELECT
    toStartOfInterval(occurred_at, toIntervalSecond({step:UInt32}), 'UTC') AS at,
    project_id AS project,
    toFloat64(sum(cost_usd)) AS cost_usd
FROM v_events
WHERE NOT replayed
  AND occurred_at >= fromUnixTimestamp({since:Int64})
  AND occurred_at < fromUnixTimestamp({until:Int64})
GROUP BY at, project
HAVING cost_usd > 0
ORDER BY at, project
