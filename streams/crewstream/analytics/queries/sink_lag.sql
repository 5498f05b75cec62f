-- title: Recorder lag
-- about: How far each partition is recorded, and how long a measurement took to be visible.
-- param hours: UInt32 = 1 -- Recorded within so many hours before now.
SELECT
    _topic AS topic,
    _partition AS partition,
    count() AS rows_recorded,
    max(_offset) AS last_offset,
    max(_ingested_at) AS last_recorded_at,
    round(quantile(0.95)(dateDiff('millisecond', occurred_at, _ingested_at))) AS p95_visible_after_ms
FROM v_events
WHERE _ingested_at >= now() - toIntervalHour({hours:UInt32})
GROUP BY topic, partition
ORDER BY topic, partition
