-- What models were called and cost.
SELECT
    provider,
    model,
    countIf(NOT replayed) AS calls,
    countIf(replayed) AS not_paid_again,
    countIf(status != 'ok') / count() AS failed,
    quantileIf(0.95)(assumeNotNull(duration_ms), duration_ms IS NOT NULL AND NOT replayed) / 1000
        AS p95_s,
    sumIf(input_tokens, NOT replayed) AS tokens_in,
    sumIf(output_tokens, NOT replayed) AS tokens_out,
    toFloat64(sumIf(cost_usd, NOT replayed)) AS usd
FROM v_events
WHERE operation = 'chat'
  AND occurred_at >= fromUnixTimestamp({since:Int64})
  AND occurred_at < fromUnixTimestamp({until:Int64})
GROUP BY provider, model
ORDER BY usd DESC, calls DESC
LIMIT 20
