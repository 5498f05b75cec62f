-- title: Workers
-- about: What each worker process did, how busy it was, and when it was last heard of.
-- plot: worker: utilisation
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param slots: UInt32 = 0 -- Tasks that one worker may run at once; 0: the most that each did.
SELECT
    worker,
    count() AS attempts,
    round(countIf(status = 'ok') / count(), 4) AS success_rate,
    uniqExact(project_id) AS projects,
    round(quantile(0.95)(queue_ms) / 1000, 3) AS p95_wait_s,
    round(sum(duration_ms) / 3600000 / {hours:UInt32}, 6) AS at_once,
    maxIntersections(
        toUnixTimestamp64Milli(occurred_at) - toInt64(ifNull(duration_ms, 0)),
        toUnixTimestamp64Milli(occurred_at)) AS most_at_once,
    round(at_once / nullIf(if({slots:UInt32} = 0, most_at_once, {slots:UInt32}), 0), 6)
        AS utilisation,
    max(occurred_at) AS last_seen
FROM v_events
WHERE operation = 'task'
  AND worker != ''
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
GROUP BY worker
ORDER BY attempts DESC, worker
