import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { seededChance } from '../../daemon/kit/chance.ts'
import { isAlive, RunningDaemon, writeModule } from '../support/daemon.ts'

/**
 * Kills a daemon with SIGKILL again and again while clients create and run missions, and compares what it had
 * acknowledged with what it still knows. The ledger of acknowledgements is kept outside the daemon; side effects are
 * counted in a file of the module's own.
 */
export interface KillReport {
  readonly cycles: number
  readonly acknowledged: number
  readonly ended: number
  readonly lost: readonly string[]
  readonly doubled: readonly string[]
  readonly changedOutcome: readonly string[]
  /** Non-idempotent steps whose effect was seen more than once. */
  readonly ranTwice: readonly string[]
  readonly orphans: readonly number[]
  readonly interrupted: number
  readonly unfinished: readonly string[]
  readonly verifier: string
}

const VERIFIER = fileURLToPath(new URL('./verify.py', import.meta.url))
const WRITERS = 4
/** From just after the socket answers to well into the work. */
const KILL_AFTER_MS_MAX = 900

export async function killLoop(
  cycles: number,
  seed: number,
  say: (line: string) => void,
): Promise<KillReport> {
  const dir = mkdtempSync(join(tmpdir(), 'nx-kill-'))
  const effects = join(dir, 'effects.txt')
  writeFileSync(effects, '')
  writeProof(dir, effects)
  const chance = seededChance(seed)
  const ledger = new Ledger(join(dir, 'ledger.txt'))
  const orphans: number[] = []
  for (let cycle = 0; cycle < cycles; cycle += 1) {
    const daemon = await RunningDaemon.start(dir)
    const stop = { now: false }
    const writers = Array.from({ length: WRITERS }, (_, writer) =>
      write(daemon, ledger, `${cycle}-${writer}`, stop, chance.next()),
    )
    await new Promise((resolve) => setTimeout(resolve, chance.next() * KILL_AFTER_MS_MAX))
    const hosts = daemon.hosts()
    await daemon.kill()
    stop.now = true
    await Promise.all(writers)
    orphans.push(...(await stillAlive(hosts)))
    if (cycle % 10 === 9) say(`${cycle + 1} kills, ${ledger.created.size} missions acknowledged`)
  }
  const report = await judge(dir, effects, ledger, cycles, orphans)
  rmSync(dir, { recursive: true, force: true })
  return report
}

/** Those that outlive the daemon by more than a second. */
async function stillAlive(pids: readonly number[]): Promise<readonly number[]> {
  const endMs = performance.now() + 1_000
  while (pids.some(isAlive) && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return pids.filter(isAlive)
}

/** What clients were told, on a disk of their own. */
class Ledger {
  readonly created = new Set<string>()
  readonly ended = new Map<string, string>()
  readonly #file: string

  constructor(file: string) {
    this.#file = file
  }

  create(id: string): void {
    this.created.add(id)
    appendFileSync(this.#file, `A ${id}\n`)
  }

  end(id: string, status: string): void {
    this.ended.set(id, status)
    appendFileSync(this.#file, `E ${id} ${status}\n`)
  }
}

async function write(
  daemon: RunningDaemon,
  ledger: Ledger,
  name: string,
  stop: { now: boolean },
  share: number,
): Promise<void> {
  for (let n = 0; !stop.now; n += 1) {
    const uses = n % 3 === 0 ? 'proof/effects/once' : 'proof/effects/again'
    const plan = [
      { id: 'first', uses, with: { note: `${name}-${n}-first` } },
      { id: 'second', uses, with: { note: `${name}-${n}-second` } },
    ]
    try {
      const key = { 'idempotency-key': `${name}-${n}` }
      const body = { goal: `keep note ${name}`, category: 'forge', plan }
      const { status, body: made } = await daemon.ask('POST', '/v1/missions/create', body, key)
      if (status !== 201 && status !== 200) continue
      ledger.create(made.mission_id)
      if (share < 0.1) continue // some only create, so that a backlog stands at the kill
      const run = { mission_id: made.mission_id, wait_ms: 5_000, operator_key: daemon.key }
      const ran = await daemon.ask('POST', '/v1/missions/run', run)
      if (ran.status === 200) ledger.end(made.mission_id, ran.body.mission.status)
    } catch {
      // The daemon was killed: whatever was in flight was not acknowledged.
    }
  }
}

async function judge(
  dir: string,
  effects: string,
  ledger: Ledger,
  cycles: number,
  orphans: readonly number[],
): Promise<KillReport> {
  const daemon = await RunningDaemon.start(dir)
  const found = await listWhenEnded(daemon)
  await daemon.kill('SIGTERM')
  const seen = readFileSync(effects, 'utf8').split('\n').filter(Boolean)
  const counts = new Map<string, number>()
  for (const line of seen) counts.set(line, (counts.get(line) ?? 0) + 1)
  const statuses = [...found].map(([id, [status = '']]) => ({ id, status }))
  return {
    cycles,
    acknowledged: ledger.created.size,
    ended: ledger.ended.size,
    lost: [...ledger.created].filter((id) => !found.has(id)),
    doubled: [...found].filter(([, all]) => all.length > 1).map(([id]) => id),
    changedOutcome: [...ledger.ended]
      .filter(([id, status]) => found.get(id)?.[0] !== status)
      .map(([id]) => id),
    ranTwice: [...counts]
      .filter(([line, count]) => line.startsWith('once ') && count > 1)
      .map(([line]) => line),
    orphans,
    interrupted: statuses.filter(({ status }) => status === 'interrupted').length,
    unfinished: statuses
      .filter(({ status }) => UNDER_WAY.has(status))
      .map(({ id, status }) => `${id} ${status}`),
    verifier: execFileSync('python3', [VERIFIER, join(dir, 'data')], { encoding: 'utf8' }).trim(),
  }
}

const UNDER_WAY = new Set(['queued', 'running'])

/** Every status that each id was listed with, once nothing of the listing is under way; or after two minutes. */
async function listWhenEnded(daemon: RunningDaemon): Promise<Map<string, string[]>> {
  const endMs = performance.now() + 120_000
  for (;;) {
    const found = await listAll(daemon)
    const busy = [...found.values()].some((all) => all.some((status) => UNDER_WAY.has(status)))
    if (!busy || performance.now() > endMs) return found
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function listAll(daemon: RunningDaemon): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>()
  for (let after = ''; ; ) {
    const { body } = await daemon.ask('GET', `/v1/missions/list?limit=500${after && `&after=${after}`}`)
    for (const { mission_id: id, status } of body.missions) found.set(id, [...(found.get(id) ?? []), status])
    if (body.next === null) return found
    after = body.next
  }
}

/** A module whose every call leaves a line outside the data folder. */
function writeProof(dir: string, effects: string): void {
  const code = `
    import { appendFileSync } from 'node:fs'
    const keep = (kind) => (input) => {
      appendFileSync(${JSON.stringify(effects)}, kind + ' ' + input.note + '\\n')
      return { kept: input.note }
    }
    export default { actions: { once: keep('once'), again: keep('again'), test: () => ({ well: true }), plan: () => ({ plan: [] }) } }
  `
  const action = (idempotent: boolean) => ({ description: 'keeps a note', idempotent, concurrency: 8 })
  writeModule(dir, 'proof/effects', code, {
    permissions: { fs_read: [effects], fs_write: [effects] },
    categories: ['forge'],
    actions: { once: action(false), again: action(true), test: action(true), plan: action(true) },
    self_test: [{ action: 'test', expect: { well: true } }],
  })
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { cycles: { type: 'string' }, seed: { type: 'string' } } })
  const report = await killLoop(Number(values.cycles ?? 100), Number(values.seed ?? 1), console.log)
  console.log(report)
}
