-- title: Standings
-- about: What each agent did at each kind of task, which is what its score rests on (docs/agents.md); an empty task_type is what managers asked it for.
-- param days: UInt32 = 30 -- The window, in days before now.
-- param project: String = '' -- One project; all when empty.
WITH
    ('budget.exceeded', 'journal.failed', 'llm.auth', 'llm.rate_limited', 'llm.unavailable',
     'model.not_configured', 'run.fenced', 'runner.died') AS blameless,
    turned_down AS
    (
        -- Results that a person stopped at the gate of the task that was to go on from them.
        SELECT workflow_id, arrayJoin(arrayFlatten(arrayMap(
            task -> if(task.failure.error_type = 'approval.rejected', task.depends_on, []), tasks))) AS task_id
        FROM transitions
        WHERE has(tasks.failure.error_type, 'approval.rejected')
          AND updated_at >= now() - toIntervalDay({days:UInt32})
    ),
    attempts AS
    (
        -- Attempts at one kind of task, with the cost of their calls: two operations in one pass.
        SELECT
            project_id, crew, task_type, attempt, workflow_id, task_id,
            -- Not the map itself: a group would carry it through the whole aggregation.
            anyIf(attributes['agent_name'], operation = 'task') AS name,
            anyIf(if(attributes['quality'] != '', toFloat64OrZero(attributes['quality']),
                     1 / (1 + toUInt32OrZero(attributes['guardrail_failures'])
                            + toUInt32OrZero(attributes['tool_failures'])))
                  / (1 + toUInt32OrZero(attributes['sent_back'])), operation = 'task') AS quality,
            anyIf(status, operation = 'task') AS ended_as,
            anyIf(error_type, operation = 'task') AS failed_by,
            anyIf(duration_ms, operation = 'task') AS took_ms,
            sumIf(cost_usd, operation = 'chat' AND NOT replayed) AS paid
        FROM v_events
        WHERE operation IN ('task', 'chat') AND task_type != ''
          AND occurred_at >= now() - toIntervalDay({days:UInt32})
          AND ({project:String} = '' OR project_id = {project:String})
        GROUP BY project_id, crew, task_type, attempt, workflow_id, task_id, assignment_id
    ),
    of_tasks AS
    (
        SELECT
            project_id, crew, task_type, name,
            ended_as = 'ok' AS ok, attempt = 1 AS first, ok AND first AS at_once,
            quality / if((workflow_id, task_id) IN turned_down, 2, 1) AS quality,
            took_ms, toFloat64(paid) AS usd
        FROM attempts
        -- Not what somebody else has ended.
        WHERE name != '' AND ended_as IN ('ok', 'error') AND failed_by NOT IN blameless
    ),
    turns AS
    (
        -- Within a crew that ran as one task: an agent's turns, over which its calls' cost is spread.
        SELECT
            project_id, crew, workflow_id, task_id, assignment_id,
            groupArrayIf((attributes['crew_task'], attributes['agent_name'], status, occurred_at, duration_ms),
                operation = 'invoke_agent' AND attributes['crew_task'] != '') AS turns_taken,
            arrayJoin(turns_taken) AS turn,
            toFloat64(sumIf(cost_usd, operation = 'chat' AND NOT replayed)) / length(turns_taken) AS usd
        FROM v_events
        WHERE operation IN ('invoke_agent', 'chat') AND task_type = ''
          AND occurred_at >= now() - toIntervalDay({days:UInt32})
          AND ({project:String} = '' OR project_id = {project:String})
          AND assignment_id NOT IN
          (
              SELECT assignment_id FROM v_events
              WHERE operation = 'task' AND task_type = ''
                AND (status NOT IN ('ok', 'error') OR error_type IN blameless)
          )
        GROUP BY project_id, crew, workflow_id, task_id, assignment_id, agent
    ),
    of_crews AS
    (
        -- Each of its tasks, once a workflow.
        SELECT
            project_id, crew, turn.1 AS task_type, turn.2 AS name,
            argMax(turn.3, turn.4) = 'ok' AS ok, true AS first,
            ok AND count() = uniqExact(assignment_id) AND countIf(turn.3 != 'ok') = 0 AS at_once,
            uniqExact(assignment_id) / count() AS quality,
            sum(turn.5) AS took_ms, sum(turns.usd) AS usd
        FROM turns
        WHERE name != ''
        GROUP BY project_id, crew, workflow_id, task_id, task_type, name
    ),
    of_managers AS
    (
        SELECT
            project_id, crew, '' AS task_type, attributes['agent_name'] AS name,
            status = 'ok' AS ok, true AS first, ok AS at_once, 1. AS quality,
            duration_ms AS took_ms, 0. AS usd
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
    round(ifNotFinite(avgIf(ifNull(took_ms, 0), ok), 0), 3) AS duration_ms,
    round(ifNotFinite(avgIf(usd, ok), 0), 9) AS cost_usd
FROM
(
    SELECT * FROM of_tasks UNION ALL SELECT * FROM of_crews UNION ALL SELECT * FROM of_managers
)
GROUP BY project_id, crew, task_type, agent
ORDER BY project_id, crew, task_type, agent
