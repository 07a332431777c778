import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { median } from '../kit/numbers.ts'
import { missionBody } from './modules.ts'

/*
 * One end of one of the queues NEXUS is compared with, in a process of its own: it hands jobs in, or works them off,
 * or does one after the other. Its order comes as JSON in its argument; it says `ready`, waits for a line, and leaves
 * its report as JSON on stdout.
 */

export interface QueueOrder {
  readonly peersDir: string
  readonly queue: 'bullmq' | 'pg-boss' | 'graphile-worker'
  readonly port: number
  /** `produce` and `work` are the two ends of one load; `alone` does both, one job after the other. */
  readonly role: 'produce' | 'work' | 'alone'
  readonly jobs: number
}

export interface QueueReport {
  /** Wall clock, with fractions. */
  readonly startedMs: number
  readonly endedMs: number
  /** Create to finished, for `alone`. */
  readonly p50Ms?: number
}

/** A queue as all of them can be used. */
interface Queue {
  add(at: number): Promise<unknown>
  /** Works off whatever comes; `done` is told of each job once it is finished. */
  work(done: (count: number) => void): Promise<void>
}

async function run(order: QueueOrder): Promise<QueueReport> {
  const queue = await OPEN[order.queue](createRequire(`${order.peersDir}/x.js`), order)
  if (order.role === 'produce') {
    await told()
    const startedMs = nowMs()
    let next = 0
    const turn = async (): Promise<void> => {
      while (next < order.jobs) {
        next += 1
        await queue.add(next)
      }
    }
    await Promise.all(Array.from({ length: IN_FLIGHT }, turn))
    return { startedMs, endedMs: nowMs() }
  }
  let finished = 0
  let wake = (): void => {}
  const begin = () =>
    queue.work((count) => {
      finished += count
      wake()
    })
  const reached = async (count: number): Promise<void> => {
    while (finished < count) await new Promise<void>((resolve) => (wake = resolve))
  }
  if (order.role === 'work') {
    await told()
    const startedMs = nowMs()
    await begin()
    await reached(order.jobs)
    return { startedMs, endedMs: nowMs() }
  }
  await begin()
  await told()
  const startedMs = nowMs()
  const times: number[] = []
  for (let at = 1; at <= order.jobs; at += 1) {
    const beganMs = performance.now()
    await queue.add(at)
    await reached(at)
    times.push(performance.now() - beganMs)
  }
  return { startedMs, endedMs: nowMs(), p50Ms: median(times) }
}

type Open = (load: NodeJS.Require, order: QueueOrder) => Promise<Queue>

const OPEN: Readonly<Record<QueueOrder['queue'], Open>> = {
  bullmq: async (load, { port }) => {
    const { Queue, Worker } = load('bullmq')
    const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null }
    const queue = new Queue('m', { connection })
    await queue.waitUntilReady()
    return {
      add: (at) => queue.add('run', missionBody(at)),
      work: async (done) => {
        const work = async (job: { data: object }): Promise<object> => ({ ok: true, ...job.data })
        const worker = new Worker('m', work, { connection, concurrency: IN_FLIGHT })
        worker.on('completed', () => done(1))
        await worker.waitUntilReady()
      },
    }
  },
  'pg-boss': async (load, { port }) => {
    const { PgBoss } = await import(pathToFileURL(load.resolve('pg-boss')).href)
    const boss = new PgBoss({ connectionString: databaseAt(port), max: 32 })
    boss.on('error', () => {})
    await boss.start()
    await boss.createQueue('m')
    return {
      add: (at) => boss.send('m', missionBody(at)),
      work: async (done) => {
        const options = { batchSize: 250, pollingIntervalSeconds: 0.5 }
        for (let worker = 0; worker < 4; worker += 1) {
          await boss.work('m', options, async (jobs: unknown[]) => done(jobs.length))
        }
      },
    }
  },
  'graphile-worker': async (load, { port }) => {
    const graphile = load('graphile-worker')
    const { Pool } = load('pg')
    const pgPool = new Pool({ connectionString: databaseAt(port), max: 32 })
    const logger = new graphile.Logger(() => () => {})
    const utils = await graphile.makeWorkerUtils({ pgPool, logger })
    await utils.migrate()
    return {
      add: (at) => utils.addJob('run', missionBody(at)),
      work: async (done) => {
        const taskList = { run: async () => {} }
        const { events } = await graphile.run({
          pgPool,
          logger,
          concurrency: 24,
          noHandleSignals: true,
          taskList,
        })
        events.on('job:complete', () => done(1)) // on record, as it is when BullMQ says `completed`
      },
    }
  },
}

function databaseAt(port: number): string {
  return `postgres://postgres@127.0.0.1:${port}/postgres`
}

/** Whoever started this process says when. */
async function told(): Promise<void> {
  process.stderr.write('ready\n')
  await new Promise((resolve) => process.stdin.once('data', resolve))
}

function nowMs(): number {
  return performance.timeOrigin + performance.now()
}

const IN_FLIGHT = 64

const report = await run(JSON.parse(process.argv[2] ?? ''))
process.stdout.write(JSON.stringify(report), () => process.exit())
