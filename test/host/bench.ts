import { cpSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createHostPool, type HostPoolOptions } from '../../daemon/host/host.ts'
import type { CallOrder, HostPool, Instance, SpawnOrder } from '../../daemon/host/port.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { shortDir } from '../support/short-dir.ts'

/** A pool over a data folder of its own, with the fixtures as generations, gone after the test. */
export async function openPool(
  t: { teardown(undo: () => unknown): void },
  options: Partial<HostPoolOptions> = {},
): Promise<{ pool: HostPool; dataDir: string }> {
  const dataDir = prepareData(t)
  const pool = await createHostPool({
    clock: systemClock,
    runDir: join(dataDir, 'run'),
    generationsDir: join(dataDir, 'generations'),
    closedDir: dataDir,
    spares: 1,
    env: process.env,
    ...options,
  })
  t.teardown(() => pool.close())
  return { pool, dataDir }
}

/** A data folder in which the fixtures are generations. */
export function prepareData(t: { teardown(undo: () => unknown): void }): string {
  const dataDir = realpathSync(shortDir(t))
  cpSync(fileURLToPath(new URL('../fixtures/host', import.meta.url)), join(dataDir, 'generations'), {
    recursive: true,
  })
  writeFileSync(join(dataDir, 'generations/package.json'), '{"type":"module"}')
  mkdirSync(join(dataDir, 'own'))
  return dataDir
}

export type OrderChanges = Partial<Omit<SpawnOrder, 'permissions' | 'limits' | 'timeouts'>> & {
  readonly permissions?: Partial<SpawnOrder['permissions']>
  readonly limits?: Partial<SpawnOrder['limits']>
  readonly timeouts?: Partial<SpawnOrder['timeouts']>
}

/** What the supervisor would order for the `actor`, but for `changes`. */
export function orderFor(dataDir: string, changes: OrderChanges = {}): SpawnOrder {
  const named = (name: string): string => join(dataDir, name)
  return {
    moduleId: 'test/actor',
    runtime: 'process',
    sandbox: false,
    instance: 'test/actor#1',
    generation: 'g1',
    dir: named('generations/actor'),
    command: [],
    actions: [],
    listen: {},
    entry: named('generations/actor/index.js'),
    config: {},
    dataDir: named('own'),
    roots: [],
    records: {
      missions: named('missions.jsonl'),
      mission_segments: named('missions'),
      journal: named('audit.jsonl'),
      segments: named('audit'),
      telemetry: named('telemetry.jsonl'),
      runtime_metrics: named('runtime_metrics.jsonl'),
      generations: named('generations'),
      artifacts: named('artifacts'),
      quarantine: named('quarantine'),
    },
    listener: {
      log: () => {},
      metrics: () => {},
      notReady: () => {},
      ready: () => {},
      suspect: () => {},
      recovered: () => {},
      command: () => Promise.resolve(null),
    },
    ...changes,
    permissions: {
      ...{ fs_read: [], fs_write: [], net: false, child_process: false, env: [], commands: [], secrets: [] },
      ...changes.permissions,
    },
    limits: {
      ...{
        memory_mb: 256,
        heartbeat_suspect_ms: 1_000,
        heartbeat_kill_ms: 5_000,
        open_files: 256,
        log_lines_per_s: 200,
      },
      ...changes.limits,
    },
    timeouts: {
      ...{ start_ms: 30_000, stop_ms: 5_000, drain_ms: 10_000, settle_ms: 3_000 },
      ...changes.timeouts,
    },
  }
}

/** Remembers what an instance says, and lets a test wait until it has said something. */
export class Ear {
  readonly said: Record<string, unknown>[] = []
  #waiting: { holds: () => boolean; tell: () => void }[] = []

  readonly listener: SpawnOrder['listener'] = {
    log: (line) => this.#note({ log: line.message, ...line }),
    metrics: (metrics) => this.#note({ metrics: metrics.samples }),
    notReady: (reason, retryInMs) => this.#note({ notReady: reason, retryInMs }),
    ready: () => this.#note({ ready: true }),
    suspect: (missingMs) => this.#note({ suspect: missingMs }),
    recovered: () => this.#note({ recovered: true }),
    command: async (name, params) => ({ ran: name, params }),
  }

  /** Resolves when something with this key has been said. */
  async heard(key: string): Promise<void> {
    await this.until(() => this.said.some((said) => key in said))
  }

  /** Resolves when this holds; looked at again whenever something is said. */
  async until(holds: () => boolean): Promise<void> {
    if (!holds()) await new Promise<void>((tell) => this.#waiting.push({ holds, tell }))
  }

  logs(): unknown[] {
    return this.said.filter((one) => 'log' in one).map((one) => one['log'])
  }

  #note(said: Record<string, unknown>): void {
    this.said.push(said)
    for (const { tell } of this.#waiting.filter(({ holds }) => holds())) tell()
    this.#waiting = this.#waiting.filter(({ holds }) => !holds())
  }
}

/** Calls an action the short way. */
export async function call(
  instance: Instance,
  action: string,
  input: unknown = null,
  more: Partial<CallOrder> = {},
): Promise<unknown> {
  const answer = await instance.call({
    action,
    input,
    timeoutMs: 10_000,
    artifact: async (name, media_type, bytes) => ({ name, media_type, bytes: bytes.length, sha256: 'h' }),
    ...more,
  })
  return answer.output
}
