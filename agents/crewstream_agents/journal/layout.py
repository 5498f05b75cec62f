"""Where journals, outcomes and budgets lie in Redis, and the scripts that write them.

One hash a journal: `@epoch` (the lease: whoever has the highest number owns the journal), `@seq`
(how many records were written), `@reported` (the records up to this one were in an outcome), and

* `r:<kind>:<key>:<n>`  a record, as `<seq>:<epoch>:<data>`
* `s:<key>:<n>:<try>`   an external tool was started, written the same way
* `n:<key>:<n>:<try>`   and certainly had no effect
* `b:<key>:<n>`         a reservation of the call under way, as JSON
* `a:<unit>:<account>`  a soft limit was crossed, as `<seq>:<spent>:<limit>`

One hash an account: tokens and cost (in 1e-9 US dollars) that are spent, reserved, and lost, which
are the reservations of calls that a crash cut off; and limits that replace the configured ones.
"""

from __future__ import annotations

from typing import Final

JOURNAL_TTL_MS: Final = 30 * 86_400_000
"""After the last write."""

ENDED_TTL_MS: Final = 3_600_000
"""Of a journal whose task has succeeded: a timeout may have released a later attempt already."""

OUTCOME_TTL_S: Final = 7 * 86_400
"""How long an outcome answers a redelivered assignment: as assignments stay on their topic."""

MONTH_TTL_MS: Final = 400 * 86_400_000
"""Of an account of a month, after the last write: a year of months can be looked at."""

NANO: Final = 1_000_000_000
"""Parts of a US dollar that costs are counted in."""


def journal_key(prefix: str, name: str) -> str:
    """The hash of a journal."""
    return f"{prefix}:journal:{name}"


def outcome_key(prefix: str, assignment_id: str) -> str:
    """The outcome of an attempt."""
    return f"{prefix}:outcome:{assignment_id}"


def account_key(prefix: str, account: str) -> str:
    """The hash of an account."""
    return f"{prefix}:budget:{account}"


def account_ttl_ms(account: str) -> int:
    """How long an account is kept after its last write."""
    return JOURNAL_TTL_MS if account.startswith("workflow:") else MONTH_TTL_MS


# What is said in Lua more than once: who owns the journal, and what becomes of a reservation.
_OWNED: Final = """
local function owned(epoch) return redis.call('HGET', KEYS[1], '@epoch') == epoch end
local function settle_held(field, into)
  local found = redis.call('HGET', KEYS[1], field)
  if not found then return end
  local held = cjson.decode(found)
  for _, account in ipairs(held.accounts) do
    redis.call('HINCRBY', account, 'tokens_reserved', -held.tokens)
    redis.call('HINCRBY', account, 'cost_reserved', -held.cost)
    if into then
      redis.call('HINCRBY', account, 'tokens_' .. into, held.tokens)
      redis.call('HINCRBY', account, 'cost_' .. into, held.cost)
    end
  end
  redis.call('HDEL', KEYS[1], field)
end
"""

ACQUIRE: Final = (
    _OWNED
    + """
-- KEYS journal, outcome, accounts...  ARGV ttl_ms
-- -> {epoch, 1 if a limit was set in an account, fields and values} or {0}: there is an outcome
if redis.call('EXISTS', KEYS[2]) == 1 then return {0} end
local epoch = redis.call('HINCRBY', KEYS[1], '@epoch', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'b:' then settle_held(field, 'lost') end
end
local limited = 0
for i = 3, #KEYS do
  local set = redis.call('HMGET', KEYS[i], 'max_tokens', 'max_cost')
  if tonumber(set[1] or 0) > 0 or tonumber(set[2] or 0) > 0 then limited = 1 end
end
return {epoch, limited, redis.call('HGETALL', KEYS[1])}
"""
)

RESERVE: Final = (
    _OWNED
    + """
-- KEYS journal, accounts...  ARGV epoch, field, tokens, cost, held, then
-- ttl_ms, max_tokens, max_cost each
-- -> {1}, {-1}: not the owner, {0, number of the account, unit, used, limit}: over its limit
if not owned(ARGV[1]) then return {-1} end
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then return {1} end
for i = 2, #KEYS do
  for u, unit in ipairs({'tokens', 'cost'}) do
    local have = redis.call('HMGET', KEYS[i], unit .. '_spent', unit .. '_lost',
      unit .. '_reserved', 'max_' .. unit)
    local used = tonumber(have[1] or 0) + tonumber(have[2] or 0) + tonumber(have[3] or 0)
    local limit = tonumber(have[4] or ARGV[6 + (i - 2) * 3 + u])
    if limit > 0 and used + tonumber(ARGV[2 + u]) > limit then
      return {0, i - 2, unit, used, limit}
    end
  end
end
for i = 2, #KEYS do
  redis.call('HINCRBY', KEYS[i], 'tokens_reserved', ARGV[3])
  redis.call('HINCRBY', KEYS[i], 'cost_reserved', ARGV[4])
  redis.call('PEXPIRE', KEYS[i], ARGV[6 + (i - 2) * 3])
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[5])
return {1}
"""
)

RELEASE: Final = (
    _OWNED
    + """
-- KEYS journal  ARGV epoch, field, 'lost' or ''
if owned(ARGV[1]) then settle_held(ARGV[2], ARGV[3] ~= '' and ARGV[3] or nil) end
return 1
"""
)

PUT: Final = (
    _OWNED
    + """
-- KEYS journal, accounts...  ARGV epoch, ttl_ms, field, data, reservation or '', tokens, cost, then
-- name, ttl_ms, max_tokens, max_cost, soft ratio each
-- -> {seq, 1 if there is a limit, alerts...} or {-1}: not the owner
if not owned(ARGV[1]) then return {-1} end
local seq, epoch = string.match(redis.call('HGET', KEYS[1], ARGV[3]) or '', '^(%d+):(%d+):')
local again = epoch == ARGV[1]
if not again then
  seq = redis.call('HINCRBY', KEYS[1], '@seq', 1)
  redis.call('HSET', KEYS[1], ARGV[3], seq .. ':' .. ARGV[1] .. ':' .. ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  if ARGV[5] ~= '' then settle_held(ARGV[5], nil) end
end
local answer = {tonumber(seq), 0}
for i = 2, #KEYS do
  local at = 8 + (i - 2) * 5
  if not again then
    redis.call('HINCRBY', KEYS[i], 'tokens_spent', ARGV[6])
    redis.call('HINCRBY', KEYS[i], 'cost_spent', ARGV[7])
    redis.call('PEXPIRE', KEYS[i], ARGV[at + 1])
  end
  for u, unit in ipairs({'tokens', 'cost'}) do
    local have = redis.call('HMGET', KEYS[i], unit .. '_spent', unit .. '_lost', 'max_' .. unit,
      'told_' .. unit)
    local used = tonumber(have[1] or 0) + tonumber(have[2] or 0)
    local limit = tonumber(have[3] or ARGV[at + 1 + u])
    local told = 'a:' .. unit .. ':' .. ARGV[at]
    if limit > 0 then answer[2] = 1 end
    if limit > 0 and used >= limit * tonumber(ARGV[at + 4]) and have[4] ~= tostring(limit) then
      redis.call('HSET', KEYS[i], 'told_' .. unit, tostring(limit))
      redis.call('HSET', KEYS[1], told, string.format('%d:%.0f:%.0f', seq, used, limit))
    end
    local alert = redis.call('HGET', KEYS[1], told)
    if alert then
      answer[#answer + 1] = told
      answer[#answer + 1] = alert
    end
  end
end
return answer
"""
)

END: Final = """
-- KEYS outcome, journal  ARGV outcome, ttl_s, epoch or 0, covered, ended_ttl_ms or ''
-- -> the outcome that was there first, '' for this one, or -1: not the owner
local first = redis.call('GET', KEYS[1])
if first then return first end
if ARGV[3] ~= '0' and redis.call('HGET', KEYS[2], '@epoch') ~= ARGV[3] then return -1 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[2], '@reported', ARGV[4])
  if ARGV[5] ~= '' then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
end
return ''
"""
"""An outcome is put down once, by the owner of its journal; the first one stays."""
