"""The Lua scripts of the Redis store. Pure.

Each script touches only the hashes declared in KEYS (so a cluster can place it), decides before
it writes anything (so it is applied wholly or not at all), and answers with the codes of `CODES`.
"""

from __future__ import annotations

from hashlib import sha1

from pannier.operations import Outcome

CODES = {
    0: Outcome.ABSENT,
    1: Outcome.CREATED,
    2: Outcome.REPLACED,
    3: Outcome.DELETED,
    4: Outcome.PRESENT,
    5: Outcome.MISMATCH,
}


class Script:
    """A script's text, and the name EVALSHA knows it by once the server has seen the text."""

    __slots__ = ("name", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip().encode()
        self.name = sha1(self.text, usedforsecurity=False).hexdigest().encode()


UPDATE = Script("""
-- KEYS: hash; ARGV: field, value
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 2
""")

COMPARE_AND_SET = Script("""
-- KEYS: hash; ARGV: field, value, tags
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held then return 0 end
local tag = redis.sha1hex(held)
for i = 3, #ARGV do
  if ARGV[i] == tag then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    return 2
  end
end
return 5
""")

COMPARE_AND_DELETE = Script("""
-- KEYS: hash; ARGV: field, tags
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held then return 0 end
local tag = redis.sha1hex(held)
for i = 2, #ARGV do
  if ARGV[i] == tag then
    redis.call('HDEL', KEYS[1], ARGV[1])
    return 3
  end
end
return 5
""")

ATOMIC_BATCH = Script("""
-- KEYS: hashes; ARGV, for each write: condition, hash's index, field, 'set' or 'delete', value,
-- number of tags, tags. Answers with a code for each; where one is refused nothing was written.
local held, plan, codes, refused = {}, {}, {}, false
local i = 1
while i <= #ARGV do
  local condition, hash, field = ARGV[i], KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2]
  local sets, value, tags = ARGV[i + 3] == 'set', ARGV[i + 4], tonumber(ARGV[i + 5])
  -- What the writes before this one leave of the record: its value, true (unread) or false.
  local place = hash .. '\\n' .. field
  local present = held[place]
  if present == nil then present = redis.call('HEXISTS', hash, field) == 1 end
  local code
  if not present and (not sets or condition == 'present' or condition == 'etag') then
    code = 0
  elseif present and condition == 'absent' then
    code = 4
  elseif condition == 'etag' then
    if present == true then present = redis.call('HGET', hash, field) end
    local tag = redis.sha1hex(present)
    code = 5
    for t = i + 6, i + 5 + tags do
      if ARGV[t] == tag then code = nil end
    end
  end
  if code then
    refused = true
  else
    code = sets and (present and 2 or 1) or 3
    held[place] = sets and value
    plan[#plan + 1] = {sets and 'HSET' or 'HDEL', hash, field, value}
  end
  codes[#codes + 1] = code
  i = i + 6 + tags
end
if refused then return codes end
-- A user who may set but not delete must not get half of the batch done.
if redis.acl_check_cmd then
  local allowed = {}
  for _, step in ipairs(plan) do
    local right = step[1] .. step[2]
    if not allowed[right] and not redis.acl_check_cmd(step[1], step[2], step[3], step[4]) then
      return redis.error_reply('NOPERM this user has no permission for ' .. step[1])
    end
    allowed[right] = true
  end
end
for _, step in ipairs(plan) do
  if step[1] == 'HSET' then
    redis.call('HSET', step[2], step[3], step[4])
  else
    redis.call('HDEL', step[2], step[3])
  end
end
return codes
""")
