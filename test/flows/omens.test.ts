import '../support/clean-children.ts'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Answer, RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

const COIN = 'lab/coin'
const action = { description: 'for a test', idempotent: true, concurrency: 8 }

/** A module that does what a file says: works, or fails every second time; and writes down when it worked. */
function writeLab(dir: string): void {
  const code = (name: string): string => `
    import { appendFileSync, existsSync, readFileSync } from 'node:fs'
    const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
    const mode = () => readFileSync(${JSON.stringify(join(dir, 'held/mode'))}, 'utf8')
    const log = (line) => appendFileSync(${JSON.stringify(join(dir, `${name}.txt`))}, line + '\\n')
    let calls = 0
    export default { actions: {
      test: () => ({ ok: true }),
      toss: async ({ ms = 0 }, ctx) => {
        log('begin ' + ctx.mission?.mission_id)
        await sleep(ms)
        log('end ' + ctx.mission?.mission_id)
        calls += 1
        if (mode() === 'half' && calls % 2 === 0) throw new Error('tails, at toss ' + calls)
        return { heads: true }
      },
      hold: async ({ file }, ctx) => {
        while (!existsSync(${JSON.stringify(join(dir, 'held'))} + '/' + file) && !ctx.signal.aborted) await sleep(10)
        return { held: true }
      },
      crash: () => { process.exit(7) },
    } }`
  for (const name of ['coin', 'slow']) {
    writeFileSync(join(dir, `${name}.txt`), '')
    writeModule(dir, `lab/${name}`, code(name), {
      permissions: { fs_read: [join(dir, 'held')], fs_write: [join(dir, `${name}.txt`)] },
      actions: { test: action, toss: action, hold: action, crash: { ...action, idempotent: false } },
      self_test: [{ action: 'test', input: {}, expect: { ok: true } }],
      restart: { max: 100, backoff_ms: 10 },
    })
  }
}

const WORDS = 'apple bridge candle desert engine forest garden harbor island jacket kettle ladder'.split(' ')

/** What an operator does, with a line in the walk for each mission. */
class Walk {
  readonly daemon: RunningDaemon
  readonly lines: string[] = []
  #goals = 0

  constructor(daemon: RunningDaemon) {
    this.daemon = daemon
  }

  async create(plan: readonly object[], more: object = {}): Promise<Answer['body']> {
    const n = this.#goals++
    // Each goal is another one: the same again within a day would be rework.
    const goal = `count the ${WORDS[n % 12]} beside the ${WORDS[Math.floor(n / 12) % 12]} ${WORDS[Math.floor(n / 144)]}`
    const body = { goal, category: 'coin', plan, max_attempts: 1, expected_value: 10, ...more }
    const { status, body: created } = await this.daemon.ask('POST', '/v1/missions/create', body)
    t.equal(status, 201, JSON.stringify(created))
    return created
  }

  approve(mission_id: string): Promise<Answer> {
    const body = { mission_id, operator_key: this.daemon.key }
    return this.daemon.ask('POST', '/v1/missions/approve', body)
  }

  async ended(id: string): Promise<Answer['body']> {
    const over = ['completed', 'failed', 'suggestion']
    const { body } = await this.daemon.until(`/v1/missions/${id}`, ({ body }) => over.includes(body.status))
    return body
  }

  /** One mission from its creation to its end, approved where it has to be. */
  async mission(): Promise<{ decision: string; level: string; status: string; score: number }> {
    const created = await this.create([{ id: 'toss', uses: `${COIN}/toss` }])
    if (created.status === 'awaiting_approval') await this.approve(created.mission_id)
    const { status } = await this.ended(created.mission_id)
    const { omen } = await this.module()
    const [shown] = await this.omens()
    const figures = shown === undefined ? '' : `count ${shown.count}, S ${shown.score}`
    this.lines.push(
      `${String(this.lines.length + 1).padStart(3)}  ${created.decision.padEnd(10)}  ${String(created.score).padStart(4)}  ${status.padEnd(10)}  ${omen.level.padEnd(9)}  ${figures}`,
    )
    return { decision: created.decision, score: created.score, level: omen.level, status }
  }

  async module(): Promise<Answer['body']> {
    return (await this.daemon.ask('GET', `/v1/status/${COIN}`)).body
  }

  async omens(query = `module=${COIN}`): Promise<Answer['body'][]> {
    return (await this.daemon.ask('GET', `/v1/system/omens?${query}`)).body.omens
  }

  unlock(params: object, headers: Record<string, string> = {}): Promise<Answer> {
    return this.daemon.ask('POST', '/v1/commands/unlock_module', params, headers)
  }
}

/** Most missions that were inside the action at once, by the module's own notes. */
function overlap(file: string): number {
  let [now, most] = [0, 0]
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (line.startsWith('begin')) now += 1
    if (line.startsWith('end')) now -= 1
    most = Math.max(most, now)
  }
  return most
}

t.test(
  'a module that begins to fail is held back step by step, locked, unlocked, and locked sooner',
  { timeout: 120_000 },
  async (t) => {
    const dir = shortDir(t)
    const notes = join(dir, 'coin.txt')
    const mode = (now: string): void => writeFileSync(join(dir, 'held/mode'), now)
    mkdirSync(join(dir, 'held'))
    mode('well')
    writeLab(dir)
    let daemon = await RunningDaemon.start(dir)
    t.teardown(() => daemon.kill())
    for (const name of ['coin', 'slow'])
      await daemon.until(`/v1/status/lab/${name}`, ({ body }) => body.state === 'started')
    let walk = new Walk(daemon)

    // --- well: missions are SAFE and run side by side
    const side = await Promise.all(
      [1, 2, 3, 4].map(() => walk.create([{ id: 'toss', uses: `${COIN}/toss`, with: { ms: 150 } }])),
    )
    for (const { mission_id } of side) await walk.ended(mission_id)
    const overlapBefore = overlap(notes)
    t.strictSame([side.map(({ decision }) => decision), overlapBefore > 1], [Array(4).fill('SAFE'), true])
    for (let n = 0; n < 10; n += 1) {
      const four = await Promise.all([1, 2, 3, 4].map(() => walk.mission()))
      t.match(four, Array(4).fill({ decision: 'SAFE', status: 'completed' }))
    }

    // --- half of them fail: warn, then intervene
    mode('half')
    // One more that is SAFE, and cannot start yet: its lane is taken.
    const lane = { category: 'forge' }
    const holding = await Promise.all(
      [1, 2, 3, 4].map(() =>
        walk.create([{ id: 'hold', uses: 'lab/slow/hold', with: { file: 'lane' } }], lane),
      ),
    )
    const early = await walk.create([{ id: 'toss', uses: `${COIN}/toss` }], lane)
    t.strictSame([early.decision, early.status], ['SAFE', 'queued'])
    const levels: string[] = []
    const until = async (level: string, most: number): Promise<void> => {
      for (let n = 0; n < most && levels.at(-1) !== level; n += 1) {
        const now = (await walk.mission()).level
        // A success may take it below a level again, which is no new one.
        if (now !== 'ignore' && !levels.includes(now)) levels.push(now)
      }
    }
    await until('intervene', 40)
    t.strictSame(levels, ['warn', 'intervene'])
    t.match(await walk.omens(), [
      {
        kind: 'mission_failed',
        level: 'intervene',
        count: 7,
        next_level: { level: 'lock', at: 13 },
        held: false,
      },
    ])
    t.match(
      (await daemon.command('explain', { module_id: COIN })).body.result.next,
      /one of its missions runs at a time/,
    )

    // --- at intervene: what was SAFE is asked for, and what is approved runs one at a time
    mode('well')
    writeFileSync(join(dir, 'held/lane'), '')
    for (const { mission_id } of holding) t.equal((await walk.ended(mission_id)).status, 'completed')
    await daemon.until(`/v1/missions/${early.mission_id}`, ({ body }) => body.status === 'awaiting_approval')
    const held = await Promise.all(
      [1, 2, 3, 4].map(() => walk.create([{ id: 'toss', uses: `${COIN}/toss`, with: { ms: 150 } }])),
    )
    t.strictSame(
      held.map(({ decision, reasons }) => [decision, reasons[0]]),
      Array(4).fill(['BORDERLINE', 'a repeated failure of a module in the plan asks for intervention']),
    )
    writeFileSync(notes, '')
    await Promise.all(held.map(({ mission_id }) => walk.approve(mission_id)))
    const waiting = await daemon.command('explain', { mission_id: held[3].mission_id })
    for (const { mission_id } of held) t.equal((await walk.ended(mission_id)).status, 'completed')
    const overlapAfter = overlap(notes)
    t.equal(overlapAfter, 1, 'counted by the module itself')
    t.match(waiting.body.result.blocked_on, /lab\/coin: an omen lets 1 of its missions run at a time/)

    // --- lock
    mode('half')
    await until('lock', 40)
    t.equal(levels.at(-1), 'lock')
    t.match(await walk.module(), {
      state: 'locked',
      health: { status: 'unhealthy' },
      because: /^13 missions failed with ACTION_FAILED at step toss: .*tails, at toss <num>$/,
      replicas: { ready: 1 },
      omen: { level: 'lock', probation_until: null },
    })
    const refused = await walk.create([{ id: 'toss', uses: `${COIN}/toss` }])
    t.match(refused, {
      decision: 'FAILING',
      score: 0,
      reasons: [/lab\/coin is locked after repeated failures/],
    })
    t.match((await daemon.ask('GET', '/readyz')).body, {
      ready: false,
      reasons: ['1 of 2 modules are unhealthy: lab/coin is locked'],
    })
    t.match((await daemon.ask('GET', '/metrics')).body, /^nexus_omens_active\{level="lock"\} 1$/m)
    t.equal((await walk.approve(early.mission_id)).status, 200)
    t.match((await daemon.ask('GET', `/v1/missions/${early.mission_id}`)).body, { status: 'queued' })
    t.match((await daemon.command('explain', { mission_id: early.mission_id })).body.result, {
      blocked_on: 'lab/coin, which an omen locked',
    })
    const by_hand = await daemon.command('call_action', { module_id: COIN, action: 'test', input: {} })
    t.equal(by_hand.status, 200, 'its author may look for what is wrong')

    // --- a lock outlives a crash of the daemon
    await daemon.kill()
    daemon = await RunningDaemon.start(dir)
    walk = Object.assign(new Walk(daemon), { lines: walk.lines })
    await daemon.until(`/v1/status/${COIN}`, ({ body }) => body.replicas?.ready === 1)
    t.match(await walk.module(), { state: 'locked', omen: { because: /^13 missions failed/ } })

    // --- only the operator key opens it
    mode('well')
    const reason = 'the coin was mended'
    const answers = [
      await walk.unlock({ module_id: COIN, reason }),
      await walk.unlock({ module_id: COIN, reason, operator_key: `nxk_${'A'.repeat(49)}` }),
      await walk.unlock({ module_id: COIN, operator_key: daemon.key }),
      await walk.unlock({ module_id: 'lab/slow', reason, operator_key: daemon.key }),
      await walk.unlock({ module_id: 'lab/none', reason, operator_key: daemon.key }),
      await walk.unlock({ module_id: COIN, reason, operator_key: daemon.key }),
    ]
    t.strictSame(
      answers.map(({ status, body }) => [status, body.code]),
      [
        [403, 'OPERATOR_KEY_REQUIRED'],
        [401, 'UNAUTHENTICATED'],
        [400, 'BAD_REQUEST'],
        [409, 'MODULE_WRONG_STATE'],
        [404, 'MODULE_UNKNOWN'],
        [200, undefined],
      ],
    )
    t.match(answers[5]?.body.result, { module_id: COIN, state: 'started', probation_until: String })
    const facts = (await daemon.ask('GET', '/v1/audit?limit=1000')).body
    const audit = (await daemon.ask('GET', `/v1/audit?after=${Math.max(0, facts.head - 40)}&limit=100`)).body
      .facts
    t.match(
      audit.find(({ type }: { type: string }) => type === 'module.unlocked'),
      { actor: { kind: 'key' }, d: { module_id: COIN, reason } },
    )
    t.notMatch(JSON.stringify(audit), daemon.key)

    t.equal((await walk.ended(early.mission_id)).status, 'completed', 'what was approved goes on by itself')
    walk.lines.push('     unlocked; probation')

    // --- probation: a mission that runs stops at its next step, at the seventh crash
    const two = await walk.create([
      { id: 'first', uses: 'lab/slow/hold', with: { file: 'go' } },
      { id: 'second', uses: `${COIN}/toss`, needs: ['first'] },
    ])
    if (two.status === 'awaiting_approval') await walk.approve(two.mission_id)
    await daemon.until(`/v1/missions/${two.mission_id}`, ({ body }) => body.status === 'running')
    const counts: string[] = []
    for (let n = 1; n <= 7; n += 1) {
      await daemon.command('call_action', { module_id: COIN, action: 'crash', input: {}, timeout_ms: 5_000 })
      await daemon.until(`/v1/system/omens?module=${COIN}`, ({ body }) => body.omens[0]?.count === n)
      const [{ level, kind, next_level: next }] = await walk.omens()
      counts.push(`${kind} ${n} ${level} ${next?.level ?? '-'} at ${next?.at ?? '-'}`)
    }
    t.strictSame(counts, [
      'crashed 1 ignore warn at 3',
      'crashed 2 ignore warn at 3',
      'crashed 3 warn lock at 7',
      'crashed 4 warn lock at 7',
      'crashed 5 warn lock at 7',
      'crashed 6 warn lock at 7',
      'crashed 7 lock - at -',
    ])
    writeFileSync(notes, '')
    writeFileSync(join(dir, 'held/go'), '')
    const parked = await daemon.until(
      `/v1/missions/${two.mission_id}`,
      ({ body }) => body.status === 'queued',
    )
    t.match(parked.body.steps, [{ status: 'completed' }, { status: 'pending' }])
    t.equal(readFileSync(notes, 'utf8'), '', 'its second step was not begun')
    t.match((await daemon.command('explain', { mission_id: two.mission_id })).body.result, {
      blocked_on: 'lab/coin, which an omen locked',
      remedy: /nexus explain lab\/coin/,
    })

    // --- and goes on from there after the unlocking, judged or approved as it was
    mode('well')
    t.equal((await walk.unlock({ module_id: COIN, reason }, { 'x-operator-key': daemon.key })).status, 200)
    await daemon.until(`/v1/status/${COIN}`, ({ body }) => body.replicas?.ready === 1)
    const after = await daemon.until(`/v1/missions/${two.mission_id}`, ({ body }) =>
      ['completed', 'awaiting_approval'].includes(body.status),
    )
    if (after.body.status === 'awaiting_approval') await walk.approve(two.mission_id)
    t.equal((await walk.ended(two.mission_id)).status, 'completed')
    t.equal(readFileSync(notes, 'utf8').match(/begin/g)?.length, 1)

    t.comment(`missions at once inside the action: ${overlapBefore} before, ${overlapAfter} at intervene`)
    t.comment(`  n  decision    score  outcome    level      omen\n${walk.lines.join('\n')}`)
    t.comment(counts.join('\n'))
  },
)
