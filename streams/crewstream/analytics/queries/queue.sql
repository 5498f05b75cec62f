-- title: Queue
-- about: How long tasks of each project and priority waited for a worker, and how many ran at once.
-- plot: project_id priority: p50_wait_s p95_wait_s
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param project: String = '' -- One project; all when empty.
-- param slots: UInt32 = 0 -- Tasks that may run at once, for utilisation; 0: the most that did.
SELECT
    project_id,
    priority,
    count() AS attempts,
    round(avg(queue_ms) / 1000, 3) AS mean_wait_s,
    round(quantile(0.5)(queue_ms) / 1000, 3) AS p50_wait_s,
    round(quantile(0.95)(queue_ms) / 1000, 3) AS p95_wait_s,
    round(max(queue_ms) / 1000, 3) AS longest_wait_s,
    round(sum(queue_ms) / nullIf(sum(queue_ms + duration_ms), 0), 4) AS waiting_share,
    round(sum(duration_ms) / 3600000 / {hours:UInt32}, 6) AS at_once,
    maxIntersections(
        toUnixTimestamp64Milli(occurred_at) - toInt64(ifNull(duration_ms, 0)),
        toUnixTimestamp64Milli(occurred_at)) AS most_at_once,
    round(at_once / nullIf(if({slots:UInt32} = 0, most_at_once, {slots:UInt32}), 0), 6)
        AS utilisation
FROM v_events
WHERE operation = 'task'
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY project_id, priority
ORDER BY p95_wait_s DESC, project_id, priority
