import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { median } from '../kit/numbers.ts'
import { endAll, treeOf } from '../kit/processes.ts'
import { printTable } from '../kit/table.ts'
import { type AloneFigure, measureAlone } from './alone.ts'
import { type LimitFigure, measureLimit } from './limit.ts'
import { CONTENDERS, measureQueue, type QueueFigure } from './queues.ts'
import { measureScale, type ScaleFigure } from './scale.ts'
import { scaleTable } from './scale-table.ts'
import { missingNexus } from './site.ts'
import { tableOf } from './table.ts'
import { measureThroughput, type ThroughputFigure, type ThroughputWay } from './throughput.ts'

export interface MissionsOptions {
  readonly peersDir: string
  readonly only: readonly string[]
  readonly rows: readonly string[]
  readonly quick: boolean
  /** Missions of history; rising, from 0. */
  readonly sizes: readonly number[]
  /** Where data folders are made. */
  readonly root: string
  say(line: string): void
}

/** Everything that was measured; what is absent was not asked for, a sentence says why something could not be. */
export interface MissionsFigures {
  readonly limit?: LimitFigure
  /** By the name of the way. */
  readonly nexus: Readonly<Record<string, ThroughputFigure | string>>
  readonly enginePerSecond?: number
  readonly alone?: AloneFigure | string
  /** By the name of the contender. */
  readonly queues: Readonly<Record<string, Partial<QueueFigure> | string>>
  /** By how much of a past; rising. */
  readonly scale?: readonly ScaleFigure[] | string
}

/** How NEXUS is given its missions, by name. */
const WAYS: Readonly<Record<string, ThroughputWay>> = {
  'over the Unix socket': { how: 'create', over: 'socket', action: 'again' },
  'over TCP': { how: 'create', over: 'tcp', action: 'again' },
  'over the Unix socket, not idempotent': { how: 'create', over: 'socket', action: 'once' },
  'in batches of 100, over the Unix socket': { how: 'batch', over: 'socket', action: 'again' },
}

/** Measures the queue beside others and beside its disk, one after the other on the same machine. */
export function missions(options: MissionsOptions): Promise<MissionsFigures> {
  return inFolder(options.root, (root) => measureAll({ ...options, root }))
}

/** Everything that is made stands in one folder, which goes in the end, and also when this is stopped. */
async function inFolder<T>(parent: string, work: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(parent, 'nxm-'))
  chmodSync(dir, 0o755) // PostgreSQL runs as somebody else
  const remove = (): void => rmSync(dir, { recursive: true, force: true })
  const stop = async (): Promise<void> => {
    await endAll(treeOf(process.pid).filter((pid) => pid !== process.pid))
    remove()
    process.exit(130)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop())
  try {
    return await work(dir)
  } finally {
    remove()
  }
}

async function measureAll(options: MissionsOptions): Promise<MissionsFigures> {
  const { root, quick } = options
  const wanted = (row: string): boolean => options.rows.length === 0 || options.rows.includes(row)
  const isIn = (name: string): boolean => options.only.length === 0 || options.only.includes(name)
  const count = quick ? QUICK_MISSIONS : MISSIONS
  const attempt = makeAttempt(options.say)
  const absent = missingNexus()

  const limits: LimitFigure[] = []
  const nexus: Record<string, (ThroughputFigure | string)[]> = {}
  const queues: Record<string, (Partial<QueueFigure> | string)[]> = {}
  const engines: number[] = []
  const alones: (AloneFigure | string)[] = []
  // By turns, so that all meet the same machine; the median counts.
  for (let round = 0; round < (quick ? 1 : ROUNDS); round += 1) {
    keep(limits, await attempt('the disk', () => measureLimit(root, count)))
    for (const [name, way] of Object.entries(WAYS)) {
      if (!isIn('nexus') || !wanted(way.how === 'batch' ? 'batch' : 'throughput')) continue
      const figure = absent ?? (await attempt(`NEXUS ${name}`, () => measureThroughput(root, way, count)))
      nexus[name] = [...(nexus[name] ?? []), figure]
    }
    for (const contender of CONTENDERS) {
      const { name, queue } = contender
      if (!isIn(queue) || !(wanted('throughput') || wanted('alone'))) continue
      const { peersDir } = options
      const measure = () => measureQueue(contender, peersDir, root, count, wanted)
      const figure = contender.missing(peersDir) ?? (await attempt(name, measure))
      queues[name] = [...(queues[name] ?? []), figure]
    }
    if (isIn('nexus') && wanted('alone')) {
      const measure = () => measureAlone(root, count / ALONE_SHARE)
      alones.push(absent ?? (await attempt('NEXUS, one mission alone', measure)))
    }
    if (isIn('nexus') && wanted('engine'))
      keep(engines, await attempt('the engine alone', () => runEngine(root, count)))
  }
  const figures: MissionsFigures = {
    nexus: mapOf(nexus, middleOf),
    queues: mapOf(queues, middleOf),
    ...(limits.length > 0 ? { limit: middle(limits) } : {}),
    ...(engines.length > 0 ? { enginePerSecond: median(engines) } : {}),
    ...(alones.length > 0 ? { alone: middleOf(alones) } : {}),
    ...(isIn('nexus') && wanted('history')
      ? { scale: absent ?? (await attempt('history', () => measureHistory(options))) }
      : {}),
  }
  printTable(tableOf(figures))
  if (figures.scale !== undefined) printTable(scaleTable(figures.scale))
  return figures
}

/** The figure of the middle round, value by value; a sentence when there was no good round. */
function middleOf<T extends object>(rounds: readonly (T | string)[]): T | string {
  const good = rounds.filter((round): round is T => typeof round === 'object')
  return good.length > 0 ? middle(good) : ((rounds[0] as string | undefined) ?? 'failed')
}

function middle<T extends object>(rounds: readonly T[]): T {
  const names = Object.keys(rounds[0] ?? {}) as (keyof T)[]
  const values = names.map((name) => [name, median(rounds.map((round) => Number(round[name])))])
  return Object.fromEntries(values) as T
}

function mapOf<T, U>(all: Readonly<Record<string, T>>, change: (one: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(all).map(([name, one]) => [name, change(one)]))
}

function keep<T>(list: T[], one: T | string): void {
  if (typeof one !== 'string') list.push(one)
}

/** What one of them cannot do says something about it; the others are measured all the same. */
function makeAttempt(say: (line: string) => void) {
  return async <T>(what: string, measure: () => Promise<T>): Promise<T | string> => {
    say(what)
    try {
      return await measure()
    } catch (error) {
      say(`${what} could not be measured: ${(error as Error).message}`)
      process.exitCode = 1
      return 'failed'
    }
  }
}

function measureHistory({ root, sizes, quick, say }: MissionsOptions): Promise<readonly ScaleFigure[]> {
  const effort = quick
    ? { reads: 100, rounds: 1, missionsEach: 300 }
    : { reads: 500, rounds: 3, missionsEach: 3_000 }
  return measureScale(root, sizes, effort, say)
}

/** In a process of its own, so that nothing else is in its heap. */
async function runEngine(root: string, count: number): Promise<number> {
  const program = fileURLToPath(new URL('engine.ts', import.meta.url))
  const args = ['--max-semi-space-size=16', program, root, String(count)]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: ENGINE_MS })
  return Number(stdout)
}

const MISSIONS = 10_000
const ROUNDS = 3
/** One after the other takes its time. */
const ALONE_SHARE = 40
const QUICK_MISSIONS = 2_000
const ENGINE_MS = 120_000
