"""A shared rate in Redis: who may go now, who waits, and for how long. Scripts and arithmetic.

The rate is a GCRA (generic cell rate algorithm, ITU-T I.371, as a virtual scheduler), one for
requests and one for tokens: `due` is when the next one would come at an even pace, and a request
goes as long as `due` is no further ahead than a tolerance. Its interval is stretched by the same
tolerance, so that no minute ever has more requests than the limit. Tokens are taken as estimated
and set right afterwards; a request larger than the tolerance goes, and what follows waits for it.

Who waits is served by start-time fair queueing (Goyal, Vin, Cheng 1996) over projects: the project
with the least virtual start goes next, and what it takes, as the larger of its parts of both limits
(dominant resource, Ghodsi et al. 2011) over its weight, moves its next start on. Within a project
first come, first served. Who waits asks again in time; who does not is forgotten.

One hash a bucket (times in microseconds of the server): `requests` and `tokens` are the due times,
`virtual` the start of the last one served, `f:<project>` where a project's next one starts, `n` the
last number in a queue. Beside it: `:waiting` (projects by start), `:leases` (who waits, by when it
is forgotten), `:q:<project>` (tickets by number). Several models may share a bucket, but a
provider's pause is of one model: in the hash of its own name, `back` is until when, and `backs` how
often in a row it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crewstream_agents.policy import Rate

MINUTE_US: Final = 60_000_000
TOLERANCE_US: Final = 3_000_000
"""How much may come at once after a pause: three seconds' worth."""

LEASE_US: Final = 5_000_000
"""Whoever does not ask again for this long has gone."""

KEPT_MS: Final = 3_600_000
"""Of a bucket that nobody asks for; its times have passed long before."""

LONGEST_BACK_US: Final = 60_000_000
"""Of a pause that doubles, when a provider does not say how long."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Microseconds between two requests and between two tokens; 0: as many as come."""

    request_us: float = 0.0
    token_us: float = 0.0

    @property
    def request_tolerance_us(self) -> float:
        """How far requests may be ahead of their time."""
        return max(0.0, TOLERANCE_US - self.request_us)


def pace(rate: Rate) -> Pace:
    """An even pace that keeps to a rate in every minute."""
    stretched = MINUTE_US + TOLERANCE_US
    return Pace(
        stretched / rate.requests_per_minute if rate.requests_per_minute else 0.0,
        stretched / rate.tokens_per_minute if rate.tokens_per_minute else 0.0,
    )


def bucket_key(prefix: str, name: str) -> str:
    """The hash of a bucket."""
    return f"{prefix}:rate:{name}"


_NOW: Final = """
local base = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function number(field) return tonumber(redis.call('HGET', base, field) or 0) end
local function forget(project, ticket)
  local queue = base .. ':q:' .. project
  redis.call('ZREM', base .. ':leases', project .. '\\n' .. ticket)
  redis.call('ZREM', queue, ticket)
  if redis.call('ZCARD', queue) == 0 then redis.call('ZREM', base .. ':waiting', project) end
end
"""

TAKE: Final = (
    _NOW
    + """
-- KEYS bucket, bucket of the model  ARGV ticket, project, weight, tokens, request_us,
-- request_tolerance_us, token_us, token_tolerance_us, lease_us, kept_ms
-- -> microseconds to wait before asking again, 0: go
local ticket, project, weight, tokens = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local request_us, token_us = tonumber(ARGV[5]), tonumber(ARGV[7])
local waiting, leases, queue = base .. ':waiting', base .. ':leases', base .. ':q:' .. project
local back = tonumber(redis.call('HGET', KEYS[2], 'back') or 0)
if back > now then
  forget(project, ticket) -- who waits for a provider holds up nobody who waits for the rate
  return math.ceil(back - now)
end
if request_us == 0 and token_us == 0 then return 0 end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
  forget(string.match(gone, '^(.*)\\n(.-)$'))
end
if not redis.call('ZSCORE', queue, ticket) then
  redis.call('ZADD', queue, redis.call('HINCRBY', base, 'n', 1), ticket)
  redis.call('ZADD', waiting, 'NX', math.max(number('virtual'), number('f:' .. project)), project)
end
redis.call('ZADD', leases, now + tonumber(ARGV[9]), project .. '\\n' .. ticket)
for _, key in ipairs({base, waiting, leases, queue}) do redis.call('PEXPIRE', key, ARGV[10]) end
local open = 0
if request_us > 0 then open = number('requests') - tonumber(ARGV[6]) end
if token_us > 0 then open = math.max(open, number('tokens') - tonumber(ARGV[8])) end
local ahead = redis.call('ZRANK', waiting, project)
  + redis.call('ZRANK', queue, ticket) * redis.call('ZCARD', waiting)
local step = math.max(request_us, tokens * token_us)
if ahead > 0 or open > now then
  return math.max(1, math.ceil(math.max(0, open - now) + ahead * step))
end
local start = tonumber(redis.call('ZSCORE', waiting, project))
local next_start = start + step / weight
forget(project, ticket)
if redis.call('ZCARD', queue) > 0 then redis.call('ZADD', waiting, next_start, project) end
redis.call('HSET', base, 'virtual', start, 'f:' .. project, next_start,
  'requests', math.max(now, number('requests')) + request_us,
  'tokens', math.max(now, number('tokens')) + tokens * token_us)
redis.call('PEXPIRE', base, ARGV[10])
return 0
"""
)

LEAVE: Final = (
    _NOW
    + """
-- KEYS bucket  ARGV ticket, project
forget(ARGV[2], ARGV[1])
return 0
"""
)

SETTLE: Final = (
    _NOW
    + """
-- KEYS bucket  ARGV tokens taken too much (negative: too little), token_us
if redis.call('HEXISTS', base, 'tokens') == 1 then
  redis.call('HSET', base, 'tokens', number('tokens') - tonumber(ARGV[1]) * tonumber(ARGV[2]))
end
return 0
"""
)

BACK_OFF: Final = (
    _NOW
    + """
-- KEYS bucket of the model  ARGV microseconds that the provider asks for or -1, longest_us, kept_ms
-- -> how long nobody asks it
local back, times = number('back'), number('backs')
if now > back + tonumber(ARGV[2]) then times = 0 end
local wait = tonumber(ARGV[1])
if wait < 0 then wait = math.min(1000000 * 2 ^ times, tonumber(ARGV[2])) end
redis.call('HSET', base, 'back', math.max(back, now + wait), 'backs', times + 1)
redis.call('PEXPIRE', base, ARGV[3])
return math.ceil(wait)
"""
)
