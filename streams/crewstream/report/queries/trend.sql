-- Tasks by hour or day: `step` seconds.
SELECT
    toStartOfInterval(occurred_at, toIntervalSecond({step:UInt32}), 'UTC') AS at,
    countIf(status = 'ok') AS succeeded,
    count() - succeeded AS failed,
    quantileIf(0.5)(assumeNotNull(duration_ms), duration_ms IS NOT NULL) / 1000 AS p50_s,
    quantileIf(0.95)(assumeNotNull(duration_ms), duration_ms IS NOT NULL) / 1000 AS p95_s,
    quantileIf(0.95)(assumeNotNull(queue_ms), queue_ms IS NOT NULL) / 1000 AS queue_p95_s
FROM v_events
WHERE operation = 'task'
  AND occurred_at >= fromUnixTimestamp({since:Int64})
  AND occurred_at < fromUnixTimestamp({until:Int64})
GROUP BY at
ORDER BY at
