-- title: Error budget burns
-- about: A service level objective is missed, or will be if it goes on like this.
-- kind: slo
-- query: slo
SELECT
    if(state = 'page', 'critical', 'warning') AS severity,
    tenant_id,
    project_id,
    name AS subject,
    multiIf(
        state = 'page', concat(name, ' burns its error budget ', toString(greatest(burn_1h, burn_6h)),
                               ' times too fast'),
        state = 'ticket', concat(name, ' burns its error budget ', toString(burn_3d), ' times too fast'),
        concat(name, ' has used up its error budget')) AS about,
    'See what fails (`crewstream query errors`), and hold back changes until it is mended.' AS action,
    map('metric', metric, 'objective', toString(objective), 'attained', toString(attained),
        'budget_left', toString(budget_left), 'burn_1h', toString(burn_1h),
        'burn_6h', toString(burn_6h), 'burn_3d', toString(burn_3d)) AS evidence
FROM {query:slo}
WHERE state IN ('page', 'ticket', 'exhausted')
