import { Agent } from 'node:http'
import { ask, startLoad } from '../kit/load.ts'
import { median, round, sleep, until } from '../kit/numbers.ts'
import { cpuMs, pssMiB, treeOf } from '../kit/processes.ts'
import { type Contender, FAULTS, type Fault, type Site } from './site.ts'

/** What is measured of every supervisor alike: over HTTP, from outside, with the same app. */
export interface Figures {
  readonly start15Ms?: number
  readonly supervisorMiB?: number
  readonly moduleMiB?: number
  readonly idlePercent?: number
  readonly crashMs?: number
  readonly reloadMs?: number
  readonly reloads?: { readonly count: number; readonly ok: number; readonly failed: number }
  readonly broken?: readonly BrokenFigure[]
  /** Infinity: not within the time that was waited. */
  readonly hangMs?: number
  readonly probeMs?: number
}

export interface BrokenFigure {
  readonly fault: Fault
  readonly ok: number
  readonly failed: number
  /** Longest time without an answer. */
  readonly gapMs: number
  /** Who serves in the end: the former version, the broken one (now and then), or nobody. */
  readonly end: 'old' | 'broken' | 'nobody'
}

/** How much is measured: `quick` shows that the bench works, not what the figures are. */
export interface Effort {
  readonly rounds: number
  readonly reloads: number
  readonly idleMs: number
  readonly hangWaitMs: number
  /** No more reloads are begun after this long: one of them may take seconds. */
  readonly reloadsMs: number
}

export const FULL: Effort = {
  rounds: 11,
  reloads: 100,
  idleMs: 20_000,
  hangWaitMs: 20_000,
  reloadsMs: 100_000,
}
export const QUICK: Effort = {
  rounds: 3,
  reloads: 5,
  idleMs: 3_000,
  hangWaitMs: 10_000,
  reloadsMs: 30_000,
}

const MODULES = 15

/** Start, memory and idling, with fifteen apps. */
export async function measureFleet(contender: Contender, { idleMs }: Effort): Promise<Figures> {
  const site = await contender.launch(MODULES, 1)
  try {
    await allAnswer(site)
    const start15Ms = performance.now() - site.startedMs
    await sleep(SETTLE_MS)
    const all = treeOf(site.pid)
    const supervisorMiB = pssMiB([site.pid])
    const moduleMiB = (pssMiB(all) - supervisorMiB) / MODULES
    const [beforeMs, sinceMs] = [cpuMs(all), performance.now()]
    await sleep(idleMs)
    const idlePercent = ((cpuMs(all) - beforeMs) / (performance.now() - sinceMs)) * 100
    const probeMs = contender.probe === undefined ? undefined : await timeOf(() => contender.probe?.(site))
    return {
      start15Ms,
      supervisorMiB,
      moduleMiB,
      idlePercent,
      ...(probeMs === undefined ? {} : { probeMs }),
    }
  } finally {
    await site.stop()
  }
}

/** From the end of an instance to the next answer, by another. */
export async function measureCrash(contender: Contender, { rounds }: Effort): Promise<Figures> {
  const site = await contender.launch(1, 1)
  const port = site.ports[0] as number
  try {
    await allAnswer(site)
    const times: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      await sleep(1_300) // long enough to count as well before it died
      const served = await until(() => ask(port))
      const startedMs = performance.now()
      await site.crash(served)
      await until(
        async () => (((await ask(port))?.pid ?? served.pid) === served.pid ? undefined : true),
        30_000,
        1,
      )
      times.push(performance.now() - startedMs)
    }
    return { crashMs: median(times) }
  } finally {
    await site.stop()
  }
}

/** Reloads under load: the first answer of new code, and what failed meanwhile. */
export async function measureReloads(contender: Contender, effort: Effort): Promise<Figures> {
  const site = await contender.launch(1, REPLICAS, TRIAL_MS)
  const port = site.ports[0] as number
  try {
    await allAnswer(site)
    await sleep(1_000)
    const load = startLoad(port, 4)
    const kept = startLoad(port, 4, true)
    const asked: { readonly version: string; readonly atMs: number }[] = []
    const endMs = performance.now() + effort.reloadsMs
    for (let count = 2; count < effort.reloads + 2 && performance.now() < endMs; count += 1) {
      asked.push({ version: `v${count}`, atMs: performance.now() })
      await site.deploy({ version: `v${count}` })
      await sleep(100)
    }
    const results = [await load.stop(), await kept.stop()]
    const firsts = asked.map(({ version, atMs }) => {
      const first = Math.min(
        ...results.map(({ firstMs }) => firstMs.get(version) ?? Number.POSITIVE_INFINITY),
      )
      return first - atMs
    })
    return {
      reloadMs: median(firsts),
      reloads: {
        count: asked.length,
        ok: results.reduce((sum, { ok }) => sum + ok, 0),
        failed: results.reduce((sum, { failed }) => sum + failed, 0),
      },
    }
  } finally {
    await site.stop()
  }
}

/** Five versions that are broken, each deployed over one that is well. */
export async function measureBroken(contender: Contender): Promise<Figures> {
  const broken: BrokenFigure[] = []
  for (const fault of FAULTS) {
    const site = await contender.launch(1, REPLICAS)
    const port = site.ports[0] as number
    try {
      await allAnswer(site)
      await sleep(1_000)
      const load = startLoad(port, 10)
      const deployed = site.deploy({ version: 'broken', fault })
      await Promise.race([deployed, sleep(BROKEN_MS)])
      await sleep(BROKEN_MS)
      const { ok, failed, gapMs, silentMs, last } = await load.stop()
      const end = silentMs > SILENT_MS ? 'nobody' : last === 'v1' ? 'old' : 'broken'
      broken.push({ fault, ok, failed, gapMs: Math.round(gapMs), end })
      await Promise.race([deployed, sleep(1)])
    } finally {
      await site.stop()
    }
  }
  return { broken }
}

/** An app that serves for a moment and then never turns its loop again. */
export async function measureHang(contender: Contender, { hangWaitMs }: Effort): Promise<Figures> {
  const site = await contender.launch(1, 1)
  const port = site.ports[0] as number
  try {
    await allAnswer(site)
    const served = await until(() => ask(port))
    void ask(port, NO_KEEP, 1_000, '/hang')
    const startedMs = performance.now()
    const back = await until(
      async () => {
        const answer = await ask(port, NO_KEEP, 1_000)
        return answer === undefined || answer.pid === served.pid ? undefined : performance.now()
      },
      hangWaitMs,
      20,
    ).catch(() => Number.POSITIVE_INFINITY)
    return { hangMs: back - startedMs }
  } finally {
    await site.stop()
  }
}

async function allAnswer(site: Site): Promise<void> {
  await Promise.all(site.ports.map((port) => until(() => ask(port), 120_000)))
}

async function timeOf(work: () => unknown): Promise<number> {
  const times: number[] = []
  for (let round = 0; round < 7; round += 1) {
    const startedMs = performance.now()
    await work()
    times.push(performance.now() - startedMs)
  }
  return round(median(times))
}

const NO_KEEP = new Agent({ keepAlive: false })
/** What PM2 and Watt need to reload at all without stopping everything. */
const REPLICAS = 2
/** So that a hundred reloads do not take five minutes of waiting. */
const TRIAL_MS = 500
const SETTLE_MS = 4_000
const BROKEN_MS = 6_000
/** Without an answer for so long, nobody serves. */
const SILENT_MS = 1_000
