import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Answer, isAlive, RunningDaemon, writeModule } from '../support/daemon.ts'

export const MODULE_IDS = ['proof/one', 'proof/two', 'proof/three'] as const

/** A daemon whose instances are killed, and sometimes the daemon itself; requests outlive it. */
export class KilledWorld {
  readonly dir = mkdtempSync(join(tmpdir(), 'nx-mk-'))
  readonly effects = join(this.dir, 'effects.jsonl')
  /** Every process that was killed. */
  readonly killed = new Set<number>()
  instanceKills = 0
  daemonKills = 0
  #daemon: RunningDaemon | undefined
  /** Resolves when a daemon answers again. */
  #up: Promise<void> = Promise.resolve()

  /** @param isIdempotentDeclared - A lie in the manifest, to see that it is found out. */
  constructor(isIdempotentDeclared: boolean) {
    writeFileSync(this.effects, '')
    for (const id of MODULE_IDS) writeProof(this.dir, id, this.effects, isIdempotentDeclared)
    writeFileSync(join(this.dir, 'nexus.json'), JSON.stringify(CONFIG))
  }

  async start(): Promise<void> {
    await this.#launch()
    await this.#running().until('/readyz', ({ status }) => status === 200)
  }

  get key(): string {
    return this.#running().key
  }

  /** Asks until there is an answer: while the daemon is away, and again when it was killed under the request. */
  async ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer> {
    for (let tries = 0; ; tries += 1) {
      await this.#up
      try {
        return await this.#running().ask(method, path, body, headers)
      } catch (error) {
        if (tries > TRIES_MAX) throw error
        await pause(20)
      }
    }
  }

  /** Kills one ready instance of the module, chosen by `chance`; by the pid that the status shows. */
  async killInstance(moduleId: string, chance: () => number): Promise<void> {
    const { body } = await this.ask('GET', `/v1/status/${moduleId}`)
    const ready = (body.instances as { pid: number; state: string }[]).filter(
      ({ state }) => state === 'ready',
    )
    const pid = ready[Math.floor(chance() * ready.length)]?.pid
    if (pid === undefined || !isAlive(pid)) return
    this.killed.add(pid)
    process.kill(pid, 'SIGKILL')
    this.instanceKills += 1
  }

  /** Kills the daemon, and starts another over the same folder. Its hosts must go with it. */
  async killDaemon(): Promise<void> {
    const back = Promise.withResolvers<void>()
    this.#up = back.promise
    const daemon = this.#running()
    const hosts = daemon.hosts()
    for (const pid of hosts) this.killed.add(pid)
    await daemon.kill()
    this.daemonKills += 1
    await this.#launch()
    back.resolve()
  }

  /** Ends the daemon in order and gives back the folder of its records. */
  async stop(): Promise<string> {
    await this.#running().kill('SIGTERM')
    return join(this.dir, 'data')
  }

  async remove(): Promise<void> {
    if (this.#daemon?.child.exitCode === null) await this.#daemon.kill()
    rmSync(this.dir, { recursive: true, force: true })
  }

  note(line: string): void {
    appendFileSync(join(this.dir, 'ledger.txt'), `${line}\n`)
  }

  /** Back, it may be unready for long: a module that an omen locked waits for an operator. */
  async #launch(): Promise<void> {
    this.#daemon = await RunningDaemon.start(this.dir, ['--config', 'nexus.json'])
  }

  #running(): RunningDaemon {
    if (this.#daemon === undefined) throw new Error('no daemon was started')
    return this.#daemon
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** A module whose every call leaves two lines outside the data folder: when it begins and when it is done. */
function writeProof(dir: string, id: string, effects: string, isIdempotentDeclared: boolean): void {
  const code = `
    import { appendFileSync } from 'node:fs'
    const note = (line) => appendFileSync(${JSON.stringify(effects)}, JSON.stringify(line) + '\\n')
    const act = (kind) => async ({ from = null, ms }, { mission }) => {
      const about = { mission: mission.mission_id, step: mission.step, epoch: mission.epoch, token: mission.idempotency_token, kind, from, pid: process.pid }
      const tell = (say) => note({ say, ...about, at: String(process.hrtime.bigint()) })
      tell('begun')
      await new Promise((resolve) => setTimeout(resolve, ms))
      tell('done')
      return { mark: about.mission + '/' + about.step }
    }
    export default { actions: { once: act('once'), again: act('again'), test: () => ({ well: true }), plan: () => ({ plan: [] }) } }
  `
  const action = (idempotent: boolean) => ({ description: 'leaves a mark', idempotent, concurrency: 4 })
  writeModule(dir, id, code, {
    permissions: { fs_read: [effects], fs_write: [effects] },
    categories: ['forge', 'coin'],
    replicas: 2,
    // Killed on purpose, again and again: what is looked at is not the patience of the supervisor.
    restart: { max: 100_000, backoff_ms: 1, backoff_max_ms: 20 },
    timeouts: { settle_ms: 0 },
    actions: {
      once: action(isIdempotentDeclared),
      again: action(true),
      test: action(true),
      plan: action(true),
    },
    self_test: [{ action: 'test', expect: { well: true } }],
  })
}

const CONFIG = {
  missions: { concurrency: 16, lanes: { coin: 12, forge: 12 } },
  hosts: { starts_per_minute: 10_000, spares: 2 },
}
/** A daemon is back within a second or two; this is for minutes. */
const TRIES_MAX = 2_000
