import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Chance, seededChance } from '../../daemon/kit/chance.ts'
import { type Findings, judge, readEffects } from './missions-killed-oracle.ts'
import { KilledWorld, MODULE_IDS, pause } from './missions-killed-world.ts'

/**
 * Missions of four kinds, accepted over HTTP under idempotency keys, while instances of their modules are killed at
 * random, and the daemon itself now and then. An operator takes care of what waits for one. Side effects are counted
 * outside the daemon.
 */
export interface KilledOptions {
  readonly missions: number
  readonly seed: number
  /** Kills of the daemon itself. */
  readonly daemonKills: number
  /** Declares the action that must not run twice as one that may: the oracle must notice. */
  readonly lie?: boolean
  say(line: string): void
}

export interface KilledReport {
  readonly accepted: number
  readonly ends: Readonly<Record<string, number>>
  readonly instanceKills: number
  readonly daemonKills: number
  readonly interrupted: number
  readonly operator: Readonly<Record<string, number>>
  readonly effects: number
  readonly findings: Findings
  readonly verifier: string
  readonly seconds: number
}

export async function missionsKilled(options: KilledOptions): Promise<KilledReport> {
  const startedMs = performance.now()
  const world = new KilledWorld(options.lie === true)
  try {
    await world.start()
    const run = new Run(world, options)
    await run.toTheEnd()
    const statuses = await run.statuses()
    const dataDir = await world.stop()
    const effects = readEffects(world.effects)
    const ends: Record<string, number> = {}
    for (const status of statuses.values()) ends[status] = (ends[status] ?? 0) + 1
    return {
      accepted: run.accepted.size,
      ends,
      instanceKills: world.instanceKills,
      daemonKills: world.daemonKills,
      interrupted: run.interrupted.size,
      operator: Object.fromEntries(run.done),
      effects: effects.length,
      findings: judge(dataDir, effects, { accepted: run.accepted, killed: world.killed, statuses }),
      verifier: execFileSync('python3', [VERIFIER, dataDir], { encoding: 'utf8' }).trim(),
      seconds: (performance.now() - startedMs) / 1_000,
    }
  } finally {
    await world.remove()
  }
}

class Run {
  readonly accepted = new Map<string, Set<string>>()
  /** Each attempt that was found to need an operator, as `<mission> <epoch>`. */
  readonly interrupted = new Set<string>()
  /** What the operator did, how often. */
  readonly done = new Map<string, number>()
  readonly #world: KilledWorld
  readonly #options: KilledOptions
  readonly #chance: Chance
  #next = 0
  #isOver = false

  constructor(world: KilledWorld, options: KilledOptions) {
    this.#world = world
    this.#options = options
    this.#chance = seededChance(options.seed)
  }

  async toTheEnd(): Promise<void> {
    const writers = Array.from({ length: WRITERS }, () => this.#write())
    const killers = Promise.all([this.#killInstances(), this.#killDaemon()])
    const operator = this.#operate(Promise.all(writers))
    try {
      // The killers end when this is over, or because something is wrong.
      await Promise.race([Promise.all([...writers, operator]), killers])
    } finally {
      this.#isOver = true
      await killers
    }
  }

  async statuses(): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    for (const { mission_id: id, status } of await this.#list('')) found.set(id, status)
    return found
  }

  async #write(): Promise<void> {
    while (this.#next < this.#options.missions) {
      const number = this.#next
      this.#next += 1
      const key = `mission-${number}`
      const body = missionOf(number, this.#chance)
      const { status, body: made } = await this.#patiently(() =>
        this.#world.ask('POST', '/v1/missions/create', body, { 'idempotency-key': key }),
      )
      if (status !== 201 && status !== 200) throw new Error(`create: ${status} ${JSON.stringify(made)}`)
      this.#accept(key, made.mission_id)
      // Some are sent again, as by a client that never saw the answer.
      if (this.#chance.next() < 0.1) {
        const again = await this.#patiently(() =>
          this.#world.ask('POST', '/v1/missions/create', body, { 'idempotency-key': key }),
        )
        this.#accept(key, again.body.mission_id)
      }
      if (number % 100 === 99) this.#options.say(`${number + 1} missions, ${this.#world.instanceKills} kills`)
      await pause(this.#chance.next() * WRITE_MS_MAX)
    }
  }

  #accept(key: string, id: string): void {
    this.#world.note(`${key} ${id}`)
    this.accepted.set(key, (this.accepted.get(key) ?? new Set()).add(id))
  }

  /** 429 and 503 say that it may be asked again. */
  async #patiently(ask: () => ReturnType<KilledWorld['ask']>): ReturnType<KilledWorld['ask']> {
    for (let tries = 0; ; tries += 1) {
      const answer = await ask()
      if (tries > 100 || (answer.status !== 429 && answer.status !== 503)) return answer
      await pause(50)
    }
  }

  async #killInstances(): Promise<void> {
    while (!this.#isOver) {
      await pause(KILL_MS_MIN + this.#chance.next() * KILL_MS_SPAN)
      const moduleId = MODULE_IDS[Math.floor(this.#chance.next() * MODULE_IDS.length)] as string
      if (!this.#isOver) await this.#world.killInstance(moduleId, () => this.#chance.next())
    }
  }

  /** Spread over the missions: each at the moment when a certain number of them has been handed in. */
  async #killDaemon(): Promise<void> {
    const { missions, daemonKills } = this.#options
    for (let kill = 1; kill <= daemonKills && !this.#isOver; kill += 1) {
      const dueAt = (missions * kill) / (daemonKills + 1)
      while (this.#next < dueAt && !this.#isOver) await pause(5)
      await pause(this.#chance.next() * 100)
      if (!this.#isOver) await this.#world.killDaemon()
    }
  }

  /** Looks after everything that waits for somebody, until nothing does and nothing is under way. */
  async #operate(written: Promise<unknown>): Promise<void> {
    const all = { written: false }
    void written.then(
      () => (all.written = true),
      () => (all.written = true),
    )
    const endMs = performance.now() + DEADLINE_MS + this.#options.missions * EACH_MS
    for (;;) {
      const isLast = all.written
      const waiting = [
        ...(await this.#list('&status=interrupted')),
        ...(await this.#list('&status=awaiting_approval')),
        ...(await this.#list('&status=suggestion')),
      ]
      for (const { mission_id: id, status, epoch } of waiting) await this.#decide(id, status, epoch)
      await this.#unlock()
      // One list of all: between two lists a mission may move from what one shows to what the other does.
      const left = isLast ? [...(await this.statuses())].filter(([, status]) => !ENDED.has(status)) : []
      if (isLast && left.length === 0) return
      if (performance.now() > endMs) throw new Error(`not ended in time: ${left.slice(0, 20).join('; ')}`)
      await pause(LOOK_MS)
    }
  }

  /** Refusals are no trouble: the mission has moved on, or will be looked at again. */
  async #decide(id: string, status: string, epoch: number): Promise<void> {
    const key = { mission_id: id, operator_key: this.#world.key }
    if (status === 'awaiting_approval') return this.#act('approve', 'approved', key)
    if (status === 'suggestion') {
      return this.#act('run', 'overridden', { ...key, override: true, reason: 'it is wanted', wait_ms: 0 })
    }
    this.interrupted.add(`${id} ${epoch}`)
    if (this.#chance.next() < CANCEL_SHARE)
      return this.#act('cancel', 'cancelled', { ...key, reason: 'not any more' })
    const { body } = await this.#world.ask('GET', `/v1/missions/${id}`)
    const unknown = (body.steps as { id: string; status: string }[]).filter(
      (step) => step.status === 'unknown',
    )
    // Who must decide goes and looks whether it was done.
    const begun = readEffects(this.#world.effects).filter(
      ({ mission, say }) => mission === id && say === 'begun',
    )
    const seen = unknown.filter((step) => begun.some((one) => one.step === step.id))
    if (seen.length === 0) return this.#act('run', 'resumed: retry', { ...key, resume: 'retry', wait_ms: 0 })
    if (seen.length === unknown.length) {
      return this.#act('run', 'resumed: skip', { ...key, resume: 'skip', wait_ms: 0 })
    }
    await this.#act('cancel', 'cancelled, since one was done and another was not', key)
  }

  async #act(operation: string, name: string, body: object): Promise<void> {
    const { status } = await this.#world.ask('POST', `/v1/missions/${operation}`, body)
    const what = status < 300 ? name : `${name}: refused with ${status}`
    this.done.set(what, (this.done.get(what) ?? 0) + 1)
  }

  /** So many crashes lock a module: somebody says that it may go on. */
  async #unlock(): Promise<void> {
    for (const id of MODULE_IDS) {
      const { body } = await this.#world.ask('GET', `/v1/status/${id}`)
      if (body.omen?.level !== 'lock') continue
      const order = { module_id: id, operator_key: this.#world.key, reason: 'it is killed on purpose' }
      const { status } = await this.#world.ask('POST', '/v1/commands/unlock_module', order)
      const what = status < 300 ? 'unlocked' : `unlocked: refused with ${status}`
      this.done.set(what, (this.done.get(what) ?? 0) + 1)
    }
  }

  async #list(filter: string): Promise<{ mission_id: string; status: string; epoch: number }[]> {
    const found: { mission_id: string; status: string; epoch: number }[] = []
    for (let after = ''; ; ) {
      const { status, body } = await this.#world.ask('GET', `/v1/missions/list?limit=500${filter}${after}`)
      if (status !== 200) throw new Error(`list: ${status} ${JSON.stringify(body)}`)
      found.push(...body.missions)
      if (body.next === null) return found
      after = `&after=${body.next}`
    }
  }
}

/** One step that may be repeated, one that may not, a chain of three, and two branches that come together again. */
function missionOf(number: number, chance: Chance): object {
  const uses = (action: 'once' | 'again'): string =>
    `${MODULE_IDS[Math.floor(chance.next() * MODULE_IDS.length)]}/${action}`
  const step = (id: string, action: 'once' | 'again', from?: string, needs?: string[]): object => ({
    id,
    uses: uses(action),
    with: {
      ms: Math.round(chance.next() * STEP_MS_MAX),
      ...(from === undefined ? {} : { from: { $from: `steps.${from}.output.mark` } }),
    },
    ...(needs === undefined ? {} : { needs }),
  })
  const plans = [
    () => [step('only', 'again')],
    () => [step('only', 'once')],
    () => [step('first', 'once'), step('second', 'again', 'first'), step('third', 'once', 'second')],
    () => [
      step('root', 'again'),
      step('left', 'once', 'root', ['root']),
      step('right', 'again', 'root', ['root']),
      step('last', 'once', 'right', ['left', 'right']),
    ],
  ]
  const category = number % 2 === 0 ? 'forge' : 'coin'
  return { goal: `leave mark ${number}`, category, plan: plans[number % plans.length]?.(), max_attempts: 6 }
}

const ENDED: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'rejected', 'expired'])
const VERIFIER = fileURLToPath(new URL('./verify.py', import.meta.url))
const WRITERS = 6
const WRITE_MS_MAX = 40
const STEP_MS_MAX = 60
const KILL_MS_MIN = 10
const KILL_MS_SPAN = 80
const LOOK_MS = 100
const CANCEL_SHARE = 0.2
const DEADLINE_MS = 60_000
const EACH_MS = 300

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      missions: { type: 'string', default: '1000' },
      seed: { type: 'string', default: '1' },
      'daemon-kills': { type: 'string', default: '0' },
      lie: { type: 'boolean', default: false },
    },
  })
  const report = await missionsKilled({
    missions: Number(values.missions),
    seed: Number(values.seed),
    daemonKills: Number(values['daemon-kills']),
    lie: values.lie,
    say: console.log,
  })
  console.log(report)
  if (Object.values(report.findings).some((list) => list.length > 0)) process.exitCode = 1
}
