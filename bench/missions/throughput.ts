import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { sleep } from '../kit/numbers.ts'
import { cpuMs, treeOf } from '../kit/processes.ts'
import type { ClientOrder, ClientReport } from './client.ts'
import { type MissionSite, withSite } from './site.ts'

/** One way to hand missions in, and what came of it. */
export interface ThroughputFigure {
  readonly missions: number
  /** From the first request until the last mission had ended. */
  readonly perSecond: number
  /** Until the last request was answered. */
  readonly createdPerSecond: number
  readonly createP50Ms: number
  readonly createP99Ms: number
  /** Share of a processor that the client used: above 0.9 it is the client that is measured. */
  readonly clientBusy: number
  /** Processor time of each mission in milliseconds: less a matter of who else is on the machine than the rate. */
  readonly daemonCpuMs: number
  readonly hostsCpuMs: number
}

export interface ThroughputWay {
  readonly how: 'create' | 'batch'
  readonly over: 'socket' | 'tcp'
  readonly action: 'again' | 'once'
}

/** Hands in missions with 64 in flight and waits for the last of them; then counts their ends in the journal itself. */
export function measureThroughput(
  root: string,
  way: ThroughputWay,
  missions: number,
): Promise<ThroughputFigure | string> {
  return withSite(root, async (site) => {
    const warm = await load(site, way, Math.ceil(missions / WARM_SHARE))
    if (typeof warm === 'string') return warm
    const figure = await load(site, way, missions)
    if (typeof figure === 'string') return figure
    const ended = await endsInJournal(site.dir)
    const due = missions + Math.ceil(missions / WARM_SHARE)
    if (ended !== due) throw new Error(`${due} missions were handed in, the journal has ${ended} ends`)
    return figure
  })
}

/** One load on a daemon that runs; a sentence when the daemon did not take it. */
export async function load(
  site: MissionSite,
  { how, over, action }: ThroughputWay,
  missions: number,
): Promise<ThroughputFigure | string> {
  const before = await endedSoFar(site)
  const hosts = treeOf(site.pid).filter((pid) => pid !== site.pid)
  const [daemonBeforeMs, hostsBeforeMs] = [cpuMs([site.pid]), cpuMs(hosts)]
  const target = over === 'tcp' ? { host: '127.0.0.1', port: site.tcpPort } : { path: site.socketPath }
  const inFlight =
    how === 'batch' ? { connections: BATCHES, perBatch: PER_BATCH } : { connections: CONNECTIONS }
  const report = await client({ ...addressOf(site), target, how, missions, action, ...inFlight })
  if (report.complaint !== undefined) {
    if (how === 'batch' && /^501 |^404 /.test(report.complaint)) return 'not available'
    throw new Error(`a create was refused: ${report.complaint}`)
  }
  const endedMs = await whenEnded(site, before + missions)
  return {
    missions,
    perSecond: missions / ((endedMs - report.startedMs) / 1_000),
    createdPerSecond: missions / ((report.endedMs - report.startedMs) / 1_000),
    createP50Ms: report.p50Ms,
    createP99Ms: report.p99Ms,
    clientBusy: report.busy,
    daemonCpuMs: (cpuMs([site.pid]) - daemonBeforeMs) / missions,
    hostsCpuMs: (cpuMs(hosts) - hostsBeforeMs) / missions,
  }
}

/** Runs the client as a program of its own. */
export async function client(order: ClientOrder): Promise<ClientReport> {
  const args = [CLIENT, JSON.stringify(order)]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: CLIENT_MS })
  return JSON.parse(stdout)
}

export function addressOf({ socketPath, token }: MissionSite): { socketPath: string; token: string } {
  return { socketPath, token }
}

/** The wall clock when so many missions had ended. Asks rarely while much is left: each answer costs the daemon, too. */
async function whenEnded(site: MissionSite, count: number): Promise<number> {
  const deadlineMs = performance.now() + ENDED_MS
  let [before, beforeMs] = [0, performance.now()]
  for (;;) {
    const ended = await endedSoFar(site)
    const nowMs = performance.now()
    if (ended >= count) return performance.timeOrigin + nowMs
    if (nowMs > deadlineMs) throw new Error(`only ${ended} of ${count} missions ended in time`)
    const perMs = before === 0 ? 0 : (ended - before) / (nowMs - beforeMs)
    const leftMs = perMs > 0 ? (count - ended) / perMs : 0
    ;[before, beforeMs] = [ended, nowMs]
    await sleep(Math.min(ASK_MS_MAX, Math.max(ASK_MS_MIN, leftMs / 2)))
  }
}

/** By the daemon's own counter. */
async function endedSoFar(site: MissionSite): Promise<number> {
  const text = await site.get('/metrics')
  const counts = text.matchAll(/^nexus_missions_total\{[^}]*status="(?:completed|failed)"[^}]*\} (\d+)/gm)
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0)
}

/** By the bytes on the disk. */
async function endsInJournal(dir: string): Promise<number> {
  const sealed = (await readdir(join(dir, 'data/audit'))).map((name) => join(dir, 'data/audit', name))
  let count = 0
  for (const file of [...sealed, join(dir, 'data/audit.jsonl')]) {
    let rest = ''
    for await (const chunk of createReadStream(file, 'latin1')) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      count += lines.filter((line) => line.includes('"type":"mission.ended"')).length
    }
  }
  return count
}

const CLIENT = fileURLToPath(new URL('client.ts', import.meta.url))
const CONNECTIONS = 64
/** A hundred missions a request; with four requests on their way there is always one to be worked on. */
const PER_BATCH = 100
const BATCHES = 4
/** A tenth as many come first, so that the code is warm; the others are warmed likewise. */
const WARM_SHARE = 10
const CLIENT_MS = 120_000
const ENDED_MS = 120_000
const ASK_MS_MIN = 4
const ASK_MS_MAX = 250
