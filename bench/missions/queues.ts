import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { QueueOrder, QueueReport } from './queue-run.ts'
import { missingPostgres, missingRedis, type Server, startPostgres, startRedis } from './servers.ts'

/** A queue that is measured beside NEXUS, with the server it stands on. */
export interface Contender {
  readonly name: string
  readonly queue: QueueOrder['queue']
  /** False where an acknowledged job may be lost with the power: shown, not compared with. */
  readonly durable: boolean
  /** Why it cannot run here; undefined when it can. */
  missing(peersDir: string): string | undefined
  start(root: string): Promise<Server>
  /** One after the other for the median; those that poll are slow. */
  readonly alone: number
  /** How much of the load it is given: slow ones need no more of it to show how slow. */
  readonly share: number
}

export const CONTENDERS: readonly Contender[] = [
  bullmq('always', 'BullMQ, fsync always', true),
  bullmq('everysec', 'BullMQ, fsync every second', false),
  onPostgres('pg-boss', 20),
  onPostgres('graphile-worker', 200),
]

/** Jobs a second, each handed in by a call of its own with 64 in flight, and worked off by a process of its own. */
export interface QueueFigure {
  /** Both at once, from the first call until the last job was finished. */
  readonly togetherPerSecond: number
  /** First all are handed in, then all are worked off. */
  readonly inTurnPerSecond: number
  /** Create to finished, one after the other. */
  readonly aloneMs: number
}

/** A fresh server for each load, and a tenth as many jobs before, so that the code is warm. */
export async function measureQueue(
  contender: Contender,
  peersDir: string,
  root: string,
  load: number,
  wanted: (row: 'throughput' | 'alone') => boolean,
): Promise<Partial<QueueFigure>> {
  const { queue, share } = contender
  const jobs = Math.ceil(load * share)
  const server = await contender.start(root)
  const order: Place = { peersDir, queue, port: server.port, children: new Set() }
  try {
    let figure: Partial<QueueFigure> = {}
    if (wanted('throughput')) {
      await together(order, Math.ceil(jobs / 10))
      const togetherPerSecond = jobs / (await together(order, jobs))
      figure = { togetherPerSecond, inTurnPerSecond: jobs / (await inTurn(order, jobs)) }
    }
    if (wanted('alone')) {
      const { p50Ms = Number.NaN } = await (
        await end({ ...order, role: 'alone', jobs: contender.alone })
      ).go()
      figure = { ...figure, aloneMs: p50Ms }
    }
    return figure
  } finally {
    for (const child of order.children) child.kill('SIGKILL')
    await server.stop()
  }
}

interface Place extends Pick<QueueOrder, 'peersDir' | 'queue' | 'port'> {
  /** Those that run. */
  readonly children: Set<ChildProcess>
}

/** Seconds. */
async function together(place: Place, jobs: number): Promise<number> {
  const worker = await end({ ...place, role: 'work', jobs })
  const producer = await end({ ...place, role: 'produce', jobs })
  const [worked, { startedMs }] = await Promise.all([worker.go(), producer.go()])
  return (worked.endedMs - startedMs) / 1_000
}

async function inTurn(place: Place, jobs: number): Promise<number> {
  const made = await (await end({ ...place, role: 'produce', jobs })).go()
  const worked = await (await end({ ...place, role: 'work', jobs })).go()
  return (made.endedMs - made.startedMs + worked.endedMs - worked.startedMs) / 1_000
}

/** One process of a load, connected and waiting. */
async function end({ children, ...order }: QueueOrder & Place): Promise<{ go(): Promise<QueueReport> }> {
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(order)], { stdio: 'pipe' })
  children.add(child)
  const deadline = setTimeout(() => child.kill('SIGKILL'), END_MS)
  let [output, complaint] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()))
  void ended.then(() => {
    clearTimeout(deadline)
    children.delete(child)
  })
  await new Promise<void>((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text
      if (/^ready$/m.test(complaint)) resolve()
    })
    void ended.then(resolve) // What it then lacks is a report.
  })
  return {
    go: async () => {
      child.stdin.on('error', () => {}) // it has ended: said below
      child.stdin.write('go\n')
      await ended
      if (output === '') throw new Error(`${order.queue}: ${complaint.slice(0, 500)}`)
      return JSON.parse(output)
    },
  }
}

function bullmq(fsync: 'always' | 'everysec', name: string, durable: boolean): Contender {
  return {
    name,
    queue: 'bullmq',
    durable,
    missing: (peersDir) => missingPackage(peersDir, 'bullmq') ?? missingRedis(),
    start: (root) => startRedis(root, fsync),
    alone: 300,
    share: 1,
  }
}

function onPostgres(queue: 'pg-boss' | 'graphile-worker', alone: number): Contender {
  return {
    name: queue,
    queue,
    durable: true,
    missing: (peersDir) =>
      missingPackage(peersDir, queue) ?? missingPackage(peersDir, 'pg') ?? missingPostgres(),
    start: startPostgres,
    alone,
    share: 0.2,
  }
}

function missingPackage(peersDir: string, name: string): string | undefined {
  if (existsSync(join(peersDir, 'node_modules', name))) return undefined
  return 'not installed: run with --install'
}

const PROGRAM = fileURLToPath(new URL('queue-run.ts', import.meta.url))
const END_MS = 180_000
