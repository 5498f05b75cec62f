-- title: Standings
-- about: What each agent did at each kind of task, which is what its score rests on (docs/agents.md); an empty task_type is what managers asked it for.
-- param days: UInt32 = 30 -- The window, in days before now.
-- param project: String = '' -- One project; all when empty.
WITH
    ended AS
    (
        -- Attempts that say something about their agent: not those that somebody else has ended.
        SELECT *
        FROM v_events
        WHERE operation = 'task'
          AND status IN ('ok', 'error')
          AND occurred_at >= now() - toIntervalDay({days:UInt32})
          AND ({project:String} = '' OR project_id = {project:String})
          AND error_type NOT IN ('budget.exceeded', 'journal.failed', 'llm.auth', 'llm.rate_limited',
              'llm.unavailable', 'model.not_configured', 'run.fenced', 'runner.died')
    ),
    paid AS
    (
        SELECT assignment_id, agent AS role, sum(cost_usd) AS cost_usd
        FROM v_events
        WHERE operation = 'chat' AND NOT replayed AND assignment_id IN (SELECT assignment_id FROM ended)
        GROUP BY assignment_id, role
    ),
    of_tasks AS
    (
        SELECT
            project_id, crew, task_type, attributes['agent_name'] AS name,
            status = 'ok' AS ok, attempt = 1 AS first, ok AND first AS at_once,
            if(attributes['quality'] != '', toFloat64OrZero(attributes['quality']),
               1 / (1 + toUInt32OrZero(attributes['guardrail_failures']) + toUInt32OrZero(attributes['tool_failures'])))
                / (1 + toUInt32OrZero(attributes['sent_back'])) AS quality,
            duration_ms, toFloat64(cost.cost_usd) AS cost_usd
        FROM ended
        LEFT JOIN (SELECT assignment_id, sum(cost_usd) AS cost_usd FROM paid GROUP BY assignment_id) AS cost
            USING (assignment_id)
        WHERE task_type != '' AND name != ''
    ),
    turns AS
    (
        -- What an agent's calls of an attempt have cost is spread over its turns there.
        SELECT
            event.*, attributes['crew_task'] AS kind, attributes['agent_name'] AS name,
            toFloat64(paid.cost_usd) / count() OVER (PARTITION BY event.assignment_id, event.agent) AS turn_usd
        FROM v_events AS event
        LEFT JOIN paid ON paid.assignment_id = event.assignment_id AND paid.role = event.agent
        WHERE operation = 'invoke_agent' AND task_type = '' AND kind != '' AND name != ''
          AND event.assignment_id IN (SELECT assignment_id FROM ended)
    ),
    of_crews AS
    (
        -- Within a crew that ran as one task: each of its tasks, once a workflow.
        SELECT
            project_id, crew, kind AS task_type, name,
            argMax(status, occurred_at) = 'ok' AS ok, true AS first,
            ok AND count() = uniqExact(assignment_id) AND countIf(status != 'ok') = 0 AS at_once,
            uniqExact(assignment_id) / count() AS quality,
            sum(turns.duration_ms) AS duration_ms, sum(turn_usd) AS cost_usd
        FROM turns
        GROUP BY project_id, crew, workflow_id, task_id, kind, name
    ),
    of_managers AS
    (
        SELECT
            project_id, crew, '' AS task_type, attributes['agent_name'] AS name,
            status = 'ok' AS ok, true AS first, ok AS at_once, 1. AS quality,
            duration_ms, 0. AS cost_usd
        FROM v_events
        WHERE operation = 'delegation' AND name != ''
          AND occurred_at >= now() - toIntervalDay({days:UInt32})
          AND ({project:String} = '' OR project_id = {project:String})
    )
SELECT
    project_id,
    crew,
    task_type,
    name AS agent,
    count() AS runs,
    countIf(ok) AS succeeded,
    countIf(first) AS first_tries,
    countIf(at_once) AS first_succeeded,
    round(ifNotFinite(avgIf(quality, ok), 0), 4) AS quality,
    round(ifNotFinite(avgIf(ifNull(duration_ms, 0), ok), 0), 3) AS duration_ms,
    round(ifNotFinite(avgIf(cost_usd, ok), 0), 9) AS cost_usd
FROM
(
    SELECT * FROM of_tasks UNION ALL SELECT * FROM of_crews UNION ALL SELECT * FROM of_managers
)
GROUP BY project_id, crew, task_type, agent
ORDER BY project_id, crew, task_type, agent
