import t from 'tap'
import { COMMANDS } from '../../daemon/contracts/command.ts'
import type { Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { Principal, Role } from '../../daemon/contracts/roles.ts'
import { Gate } from '../../daemon/gate/gate.ts'
import { summariseParams, summariseResult } from '../../daemon/gate/intents.ts'
import type { CommandHandlers, MissionDesk, Passage } from '../../daemon/gate/port.ts'
import { RateLimit } from '../../daemon/gate/rate-limit.ts'
import { TestClock } from '../support/test-clock.ts'

const KEY = 'nxk_0123456789abcdefghijklmnop'
const MISSION_ID = `m-${'0'.repeat(26)}`
const as = (role: Role, kind: Principal['kind'] = 'token'): Principal => ({
  kind,
  name: role,
  roles: [role],
  permissions: [],
})
const operator = as('operator')

/** A gate whose every neighbour writes into one list, in the order things happen. */
function house(
  options: {
    handlers?: object
    desk?: object
    journal?: (draft: FactDraft) => void
    rate?: { perSecond: number; burst: number }
  } = {},
) {
  const clock = new TestClock()
  const happened: unknown[] = []
  const facts: Fact[] = []
  const passages: Passage[] = []
  const complaints: unknown[] = []
  const recorder = {
    append: async (draft: FactDraft): Promise<Fact> => {
      options.journal?.(draft)
      happened.push([draft.type, draft.d])
      const seq = facts.length + 1
      const fact = { ...draft, v: 1 as const, seq, b: seq, ts: '2026-11-22T10:00:00.000Z', h: '' }
      facts.push(fact)
      return fact
    },
  }
  const handlers = new Proxy(options.handlers ?? {}, {
    get: (own: Record<string, unknown>, name: string) =>
      own[name] ??
      (async (params: object) => {
        happened.push(['effect', name, params])
        return { module_id: 'a/b', state: 'started', deep: { not: 'kept' } }
      }),
  }) as unknown as CommandHandlers
  const desk = new Proxy(options.desk ?? {}, {
    get: (own: Record<string, unknown>, name: string) =>
      own[name] ??
      (async (...given: unknown[]) => {
        happened.push(['desk', name, ...given])
        if (name === 'createAll') return (given[0] as object[]).map(() => ({ replayed: false, answer: {} }))
        return name === 'create'
          ? { replayed: false, answer: { mission_id: MISSION_ID } }
          : { mission_id: MISSION_ID }
      }),
  }) as unknown as MissionDesk
  const gate = new Gate({
    clock,
    recorder,
    handlers,
    missions: desk,
    ...(options.rate === undefined ? {} : { rate: options.rate }),
    passed: (passage) => passages.push(passage),
    complain: (cause) => complaints.push(cause),
  })
  return { gate, clock, happened, facts, passages, complaints }
}

const codeOf = (cause: unknown): string => (cause instanceof NexusError ? cause.code : String(cause))
const refused = async (asked: Promise<unknown>): Promise<string> => asked.then(() => 'let in', codeOf)

t.test('refuses before anything happens, and records each refusal', async (t) => {
  const { gate, happened } = house()
  const codes = [
    await refused(gate.command(operator, 'reload_modul', {})),
    await refused(gate.command(operator, 'reload_module', { modul_id: 'a/b' })),
    await refused(gate.command(operator, 'reload_module', undefined)),
    await refused(gate.command(as('viewer'), 'reload_module', { module_id: 'a/b' })),
    await refused(gate.command(as('admin'), 'trigger_chaos', { experiment: 'kill' })),
    await refused(gate.command(operator, 'constructor', {})),
    await refused(gate.mission('approve', as('submitter'), { mission_id: MISSION_ID, operator_key: KEY })),
    await refused(gate.mission('create', as('aeon'), { goal: 'x', category: 'coin' })),
  ]
  t.strictSame(codes, [
    'COMMAND_UNKNOWN',
    'BAD_REQUEST',
    'BAD_REQUEST',
    'PERMISSION_DENIED',
    'NOT_AVAILABLE',
    'COMMAND_UNKNOWN',
    'PERMISSION_DENIED',
    'PERMISSION_DENIED',
  ])
  t.strictSame(
    happened.map((entry) => {
      const [type, d] = entry as [string, { command: string; code: string }]
      return [type, d.command, d.code]
    }),
    [
      ['command.refused', 'reload_modul', 'COMMAND_UNKNOWN'],
      ['command.refused', 'reload_module', 'BAD_REQUEST'],
      ['command.refused', 'reload_module', 'BAD_REQUEST'],
      ['command.refused', 'reload_module', 'PERMISSION_DENIED'],
      ['command.refused', 'trigger_chaos', 'NOT_AVAILABLE'],
      ['command.refused', 'constructor', 'COMMAND_UNKNOWN'],
      ['command.refused', 'mission.approve', 'PERMISSION_DENIED'],
      ['command.refused', 'mission.create', 'PERMISSION_DENIED'],
    ],
  )
})

t.test('what is named a secret is not recorded, wherever it stands', async (t) => {
  t.strictSame(
    [
      summariseParams({ module_id: 'a/b', key: 'db.password', value: 'hush' }),
      summariseParams({ key: 'mode', value: { apiKey: 'hush', retries: 3, tokens: ['hush'] } }),
      summariseParams({ input: { url: 'nxk_0123456789', max_tokens: 5, name: 'plain' } }),
      summariseResult({ key: 'secret', value: 'hush', previous: 'hushed', applied: 'live' }),
    ],
    [
      { module_id: 'a/b', key: 'db.password', value: '[redacted]' },
      { key: 'mode', value: { apiKey: '[redacted]', retries: 3, tokens: ['[redacted]'] } },
      { input: { url: '[redacted]', max_tokens: 5, name: 'plain' } },
      { key: 'secret', value: '[redacted]', previous: '[redacted]', applied: 'live' },
    ],
  )
})

t.test('names the nearest command and the nearest field', async (t) => {
  const { gate } = house()
  const unknown = await gate.command(operator, 'reload_modul', {}).catch((cause: NexusError) => cause)
  t.match((unknown as NexusError).message, /did you mean reload_module\?/)
  const field = await gate
    .command(operator, 'stop_module', { modul_id: 'a/b' })
    .catch((cause: NexusError) => cause)
  t.strictSame((field as NexusError).issues, [
    { pointer: '/module_id', detail: 'is missing' },
    { pointer: '/modul_id', detail: 'is unknown; did you mean module_id?' },
  ])
})

t.test('the intent is durable before the effect, the outcome before the answer', async (t) => {
  const { gate, happened, clock } = house({
    handlers: {
      stop_module: async () => {
        happened.push('effect')
        await clock.pass(12)
        return { module_id: 'a/b', state: 'stopped', deep: { not: 'kept' } }
      },
    },
  })
  const result = await gate.command(operator, 'stop_module', { module_id: 'a/b' })
  happened.push('answer')
  t.strictSame(result, { module_id: 'a/b', state: 'stopped', deep: { not: 'kept' } })
  t.strictSame(happened, [
    ['command.intended', { command: 'stop_module', params: { module_id: 'a/b' } }],
    'effect',
    [
      'command.done',
      {
        intent: 1,
        command: 'stop_module',
        duration_ms: 12,
        outcome: 'done',
        result: { module_id: 'a/b', state: 'stopped' },
      },
    ],
    'answer',
  ])
})

t.test('without a durable intent there is no effect', async (t) => {
  const { gate, happened } = house({
    journal: () => {
      throw new NexusError('JOURNAL_UNAVAILABLE', { reason: 'EIO' })
    },
  })
  t.equal(await refused(gate.command(operator, 'stop_module', { module_id: 'a/b' })), 'JOURNAL_UNAVAILABLE')
  t.strictSame(happened, [])
})

t.test('without a durable outcome there is no success', async (t) => {
  const { gate, happened } = house({
    journal: ({ type }) => {
      if (type === 'command.done') throw new NexusError('JOURNAL_UNAVAILABLE', { reason: 'EIO' })
    },
  })
  t.equal(await refused(gate.command(operator, 'stop_module', { module_id: 'a/b' })), 'JOURNAL_UNAVAILABLE')
  t.equal(happened.length, 2, 'intent and effect')
})

t.test('an effect that fails has a failed outcome with its code', async (t) => {
  const { gate, facts, passages } = house({
    handlers: {
      start_module: async () => {
        throw new NexusError('MODULE_UNKNOWN', { module: 'a/b', nearest: '' })
      },
      stop_module: async () => {
        throw new Error('a bug')
      },
    },
  })
  t.equal(await refused(gate.command(operator, 'start_module', { module_id: 'a/b' })), 'MODULE_UNKNOWN')
  t.match(await refused(gate.command(operator, 'stop_module', { module_id: 'a/b' })), 'a bug')
  t.strictSame(
    facts.filter(({ type }) => type === 'command.done').map(({ d }) => d),
    [
      { intent: 1, command: 'start_module', duration_ms: 0, outcome: 'failed', code: 'MODULE_UNKNOWN' },
      { intent: 3, command: 'stop_module', duration_ms: 0, outcome: 'failed', code: 'INTERNAL' },
    ],
  )
  t.strictSame(passages, [
    { command: 'start_module', outcome: 'failed', durationMs: 0, code: 'MODULE_UNKNOWN' },
    { command: 'stop_module', outcome: 'failed', durationMs: 0 },
  ])
})

t.test('reads leave no record', async (t) => {
  const { gate, facts } = house()
  const reads = Object.entries(COMMANDS).filter(([, rule]) => 'reads' in rule)
  for (const [name] of reads)
    await gate.command(operator, name, name === 'explain' ? { module_id: 'a/b' } : {})
  t.ok(reads.length >= 3, 'there are reads')
  t.strictSame(facts, [])
})

t.test('no operator key and nothing that looks like one reaches journal or mission room', async (t) => {
  const { gate, happened, facts } = house({
    handlers: {
      start_module: async () => {
        throw new NexusError('MODULE_UNKNOWN', { module: KEY, nearest: '' })
      },
    },
  })
  await gate.mission('approve', as('admin', 'key'), {
    mission_id: MISSION_ID,
    operator_key: KEY,
    reason: 'fine',
  })
  await refused(gate.mission('run', operator, { mission_id: KEY, operator_key: KEY, [KEY]: 1 }))
  await refused(gate.command(operator, KEY, {}))
  await refused(gate.command(operator, 'unlock_module', { module_id: 'a/b', operator_key: KEY, reason: 'x' }))
  await gate.turnedAway('/v1/missions/run', new NexusError('UNAUTHENTICATED'))
  t.ok(facts.length >= 4, 'something was recorded')
  t.notMatch(JSON.stringify(happened), KEY)
  t.strictSame(happened[0], [
    'desk',
    'approve',
    { mission_id: MISSION_ID, reason: 'fine' },
    { principal: as('admin', 'key'), operatorKey: true },
  ])
})

t.test('what needs the operator key is refused to everybody else, and its reason is on record', async (t) => {
  const { gate, happened, facts } = house()
  const params = { module_id: 'a/b', reason: 'mended' }
  t.strictSame(
    [
      await refused(gate.command(as('admin'), 'unlock_module', params)),
      await refused(gate.command(as('viewer'), 'unlock_module', params)),
      await refused(gate.command(as('admin', 'key'), 'unlock_module', { module_id: 'a/b' })),
    ],
    ['OPERATOR_KEY_REQUIRED', 'PERMISSION_DENIED', 'BAD_REQUEST'],
  )
  t.notOk(happened.some((entry) => (entry as unknown[])[0] === 'effect'))
  await gate.command(as('admin', 'key'), 'unlock_module', { ...params, operator_key: KEY })
  t.match(facts.find(({ type }) => type === 'command.intended')?.d, { command: 'unlock_module', params })
})

t.test('a record of parameters leaves the operator key out', async (t) => {
  t.strictSame(summariseParams({ module_id: 'a/b', operator_key: KEY }), { module_id: 'a/b' })
})

t.test('parameters too large for a record stand there by size and hash', async (t) => {
  const { gate, facts } = house()
  await gate.command(operator, 'call_action', { module_id: 'a/b', action: 'x', input: 'y'.repeat(100_000) })
  t.match(facts[0]?.d['params'], { bytes: 100_043, sha256: /^[0-9a-f]{64}$/ })
})

t.test('a flood of refusals is ten records a second and one with the counts', async (t) => {
  const { gate, facts, clock } = house()
  await Promise.all(
    Array.from({ length: 500 }, () =>
      refused(gate.command(as('viewer'), 'stop_module', { module_id: 'a/b' })),
    ),
  )
  t.equal(facts.length, 10)
  await clock.pass(1_000)
  t.equal(facts.length, 11)
  t.strictSame(facts[10]?.d, {
    command: 'many',
    count: 490,
    codes: { PERMISSION_DENIED: 490 },
    principals: ['token:viewer'],
  })
  await refused(gate.command(as('viewer'), 'stop_module', { module_id: 'a/b' }))
  t.equal(facts[11]?.d['code'], 'PERMISSION_DENIED', 'the next second begins anew')
  await gate.close()
  t.equal(clock.waiting, 0, 'no timer is left')
})

t.test('a refusal stands when it cannot be recorded', async (t) => {
  const { gate, complaints } = house({
    journal: () => {
      throw new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' })
    },
  })
  t.equal(await refused(gate.command(as('viewer'), 'stop_module', { module_id: 'a/b' })), 'PERMISSION_DENIED')
  t.strictSame(complaints.map(codeOf), ['JOURNAL_FULL'])
})

t.test('the mission room gets the checked body, who asks, and the idempotency key on create', async (t) => {
  const { gate, happened, facts } = house()
  const body = { goal: 'x', category: 'coin' }
  const submitter = as('submitter', 'anonymous')
  t.strictSame(await gate.mission('create', submitter, body, 'k-1'), {
    replayed: false,
    answer: { mission_id: MISSION_ID },
  })
  await gate.mission('cancel', operator, { mission_id: MISSION_ID })
  t.strictSame(happened, [
    ['desk', 'create', body, { principal: submitter, operatorKey: false }, 'k-1'],
    ['desk', 'cancel', { mission_id: MISSION_ID }, { principal: operator, operatorKey: false }],
  ])
  t.strictSame(facts, [], 'the transition itself is the record')
})

t.test('what the mission room refuses is recorded, what it cannot record is not', async (t) => {
  const failing = (code: 'APPROVAL_REQUIRED' | 'JOURNAL_FULL') => async () => {
    throw new NexusError(code, { mission: MISSION_ID, reason: 'x' })
  }
  const { gate, facts } = house({
    desk: { run: failing('APPROVAL_REQUIRED'), cancel: failing('JOURNAL_FULL') },
  })
  t.equal(await refused(gate.mission('run', operator, { mission_id: MISSION_ID })), 'APPROVAL_REQUIRED')
  t.equal(await refused(gate.mission('cancel', operator, { mission_id: MISSION_ID })), 'JOURNAL_FULL')
  t.strictSame(
    facts.map(({ d }) => d['code']),
    ['APPROVAL_REQUIRED'],
  )
})

t.test('intents that a crash left open are closed exactly once, as unknown', async (t) => {
  const { gate, facts } = house()
  const fact = (seq: number, type: string, d: object): Fact =>
    ({ v: 1, seq, b: seq, ts: '', h: '', type, actor: { kind: 'token', name: 'x' }, d }) as Fact
  gate.fold(fact(5, 'command.intended', { command: 'stop_module' }))
  gate.fold(fact(6, 'command.intended', { command: 'reload_module' }))
  gate.fold(fact(7, 'command.done', { intent: 5 }))
  await gate.recover()
  t.strictSame(
    facts.map(({ type, d }) => [type, d]),
    [['command.done', { intent: 6, command: 'reload_module', outcome: 'unknown' }]],
  )
})

t.test('an intent older than the snapshot is still closed after it', async (t) => {
  const before = house().gate
  before.fold({ seq: 5, type: 'command.intended', d: { command: 'stop_module' } } as unknown as Fact)
  const { gate, facts } = house()
  gate.load(JSON.parse(JSON.stringify(before.save())))
  await gate.recover()
  t.strictSame(
    facts.map(({ d }) => d),
    [{ intent: 5, command: 'stop_module', outcome: 'unknown' }],
  )
  gate.load(null)
  t.strictSame(gate.save(), [])
})

t.test('a principal changes missions at its rate, and a batch costs what it holds', async (t) => {
  const { gate, clock, facts } = house({ rate: { perSecond: 10, burst: 20 } })
  const goal = { goal: 'x', category: 'coin' }
  const ask = (name: string) => refused(gate.mission('create', { ...as('operator'), name }, goal))
  const batch = (name: string, count: number) =>
    gate.missions({ ...as('operator'), name }, { missions: Array(count).fill(goal) })
  await batch('anna', 19)
  const codes = [await ask('anna'), await ask('anna'), await ask('berta')]
  const late = await batch('anna', 2).catch((error: NexusError) => error)
  await clock.pass(100)
  const soon = [await ask('anna'), await ask('anna')]
  await clock.pass(2_000)
  await batch('anna', 60)
  const lent = await gate.mission('create', { ...as('operator'), name: 'anna' }, goal).catch((error) => error)

  await clock.pass(3_600_000)
  await batch('anna', 19)
  const rested = [await ask('anna'), await ask('anna')]

  t.strictSame(codes, ['let in', 'RATE_LIMITED', 'let in'], 'another one has a rate of its own')
  t.strictSame(rested, ['let in', 'RATE_LIMITED'], 'who rests saves up no more than a burst')
  t.match(late, { code: 'RATE_LIMITED', status: 429, retryAfterSeconds: 1, facts: { rate: 10 } })
  t.strictSame(soon, ['let in', 'RATE_LIMITED'])
  t.match(lent, { retryAfterSeconds: 5 }, 'what a large batch was lent is waited for: 40 and one more')
  t.equal(facts.filter(({ d }) => d['code'] === 'RATE_LIMITED').length, 5, 'refusals are on record')
})

t.test(
  'callers without credentials share one rate, and whom nobody asked for long is forgotten',
  async (t) => {
    const clock = new TestClock()
    const limit = new RateLimit({ perSecond: 1, burst: 2 }, clock)
    const take = (name: string): string => {
      try {
        limit.take({ kind: 'token', name, roles: [], permissions: [] }, 1)
        return 'taken'
      } catch (error) {
        return codeOf(error)
      }
    }
    t.strictSame([take('one'), take('one'), take('one')], ['taken', 'taken', 'RATE_LIMITED'])
    await clock.pass(1_000)
    for (let at = 0; at < 999; at += 1) take(`other ${at}`)
    t.equal(take('one'), 'taken', 'a flood of names does not push out who is counted')
    await clock.pass(1_000)
    t.strictSame([take('new'), take('one'), take('one')], ['taken', 'taken', 'RATE_LIMITED'])
  },
)

t.test('a batch comes to the desk as what was right with it, and each refusal is recorded', async (t) => {
  const desk = {
    createAll: async (orders: readonly { body: { goal: string }; idempotencyKey?: string }[]) =>
      orders.map(({ body, idempotencyKey }) =>
        body.goal === 'full'
          ? new NexusError('QUEUE_FULL', { limit: 1 })
          : { replayed: false, answer: { goal: body.goal, idempotencyKey } },
      ),
  }
  const { gate, facts, passages } = house({ desk })
  const ends = await gate.missions(operator, {
    missions: [
      { goal: 'a', category: 'coin', idempotency_key: 'k' },
      { goal: 'b', category: 'coin', operator_key: KEY },
      null,
      { goal: 'c', category: 'coin', idempotency_key: ' ' },
      { goal: 'full', category: 'coin' },
      { goal: 'd', category: 'forge' },
    ],
  })
  t.strictSame(
    ends.map((end) => (end instanceof NexusError ? [end.code, end.issues[0]?.pointer] : end.answer)),
    [
      { goal: 'a', idempotencyKey: 'k' },
      ['BAD_REQUEST', '/operator_key'],
      ['BAD_REQUEST', ''],
      ['BAD_REQUEST', '/idempotency_key'],
      ['QUEUE_FULL', undefined],
      { goal: 'd', idempotencyKey: undefined },
    ],
  )
  t.strictSame(
    facts.map(({ type, d }) => [type, d['command'], d['code']]),
    ['BAD_REQUEST', 'BAD_REQUEST', 'BAD_REQUEST', 'QUEUE_FULL'].map((code) => [
      'command.refused',
      'mission.create',
      code,
    ]),
  )
  t.notMatch(JSON.stringify(facts), KEY)
  t.match(passages, [{ command: 'mission.batch', outcome: 'done' }])
  const whole = [
    await refused(gate.missions(as('viewer'), { missions: [{}] })),
    await refused(gate.missions(operator, { missions: [] })),
    await refused(gate.missions(operator, { missions: Array(1_001).fill({}) })),
    await refused(gate.missions(operator, null)),
  ]
  t.strictSame(whole, ['PERMISSION_DENIED', 'BAD_REQUEST', 'BAD_REQUEST', 'BAD_REQUEST'])
})
