-- title: Model without a price
-- about: Calls of a model are counted as free because nobody knows its price.
-- kind: recommendation
-- query: llm
SELECT
    'info' AS severity,
    '' AS tenant_id,
    '' AS project_id,
    model AS subject,
    concat(toString(unpriced_calls), ' calls of ', model, ' have no price: costs and budgets miss them') AS about,
    'Give its price under `prices` in limits.yaml.' AS action,
    map('calls', toString(unpriced_calls)) AS evidence
FROM {query:llm}
WHERE unpriced_calls > 0
