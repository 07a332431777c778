import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { median, sleep, until } from '../kit/numbers.ts'
import { cpuMs, openFiles, pssMiB, rssMiB, treeOf } from '../kit/processes.ts'
import { launchNexus, type NexusSite } from './nexus.ts'
import type { Effort } from './rows.ts'

/** What only NEXUS has: actions, shared modules, probes, and how it stands many reloads. */
export interface OwnFigures {
  readonly actionCrashMs?: number
  readonly actionReloadMs?: number
  /** Where saves are atomic, so that no time of quiet has to pass before a file is believed. */
  readonly atomicReloadMs?: number
  readonly actions?: { readonly reloads: number; readonly ok: number; readonly failed: number }
  readonly sharedMiB?: number
  /** An isolated module that does nothing but answer an action. */
  readonly bareMiB?: number
  readonly shared?: readonly SharedFigure[]
  readonly liveRatio?: number
  readonly statusRatio?: number
  readonly endurance?: readonly EnduranceFigure[]
}

export interface SharedFigure {
  readonly modules: number
  readonly readyMs: number
  readonly statusMs: number
  readonly scrapeMs: number
  readonly treeMiB: number
  readonly idlePercent: number
}

export interface EnduranceFigure {
  readonly what: string
  readonly reloads: number
  readonly ms: number
  readonly rssMiB: readonly [before: number, after: number]
  readonly files: readonly [before: number, after: number]
  readonly processes: readonly [before: number, after: number]
}

const PLAIN = { listen: [], timeouts: { settle_ms: 0 } }

/** From the end of an instance to the next answer of its action, by another. */
export async function measureActionCrash({ rounds }: Effort): Promise<OwnFigures> {
  const manifest = { ...PLAIN, restart: { max: 1_000 } }
  const site = await launchNexus({ apps: 1, manifest, code: SMALL })
  try {
    await started(site, 1)
    const ping = async (): Promise<number | undefined> => {
      const { body } = await site.command('call_action', { module_id: 'bench/m0', action: 'ping' })
      return body?.result?.output?.pid
    }
    const times: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      await sleep(1_300) // long enough to count as well before it died
      const pid = await until(ping)
      const startedMs = performance.now()
      process.kill(pid, 'SIGKILL')
      await until(async () => ((await ping()) ?? pid) !== pid || undefined, 30_000, 1)
      times.push(performance.now() - startedMs)
    }
    return { actionCrashMs: median(times) }
  } finally {
    await site.stop()
  }
}

/** Calls of an action under load while its module is reloaded again and again. */
export async function measureActions({ reloads }: Effort): Promise<OwnFigures> {
  const usual = await reloadUnderCalls(reloads, {})
  const atomic = await reloadUnderCalls(reloads, { watch: { quiet_ms: 0 } })
  return {
    actionReloadMs: usual.ms,
    atomicReloadMs: atomic.ms,
    actions: {
      reloads: 2 * reloads,
      ok: usual.ok + atomic.ok,
      failed: usual.failed + atomic.failed,
    },
  }
}

async function reloadUnderCalls(
  reloads: number,
  config: object,
): Promise<{ readonly ms: number; readonly ok: number; readonly failed: number }> {
  const site = await launchNexus({ apps: 1, manifest: PLAIN, code: plainApp('v1'), config })
  try {
    await started(site, 1)
    const seen = { ok: 0, failed: 0 }
    const firstMs = new Map<string, number>()
    let going = true
    const caller = async (): Promise<void> => {
      while (going) {
        const { status, body } = await site.command('call_action', { module_id: 'bench/m0', action: 'ping' })
        if (status === 200) seen.ok += 1
        else seen.failed += 1
        const version = body?.result?.output?.version
        if (typeof version === 'string' && !firstMs.has(version)) firstMs.set(version, performance.now())
      }
    }
    const callers = Array.from({ length: CALLERS }, caller)
    const asked = new Map<string, number>()
    for (let count = 2; count < reloads + 2; count += 1) {
      const version = `v${count}`
      site.write('bench/m0', plainApp(version), PLAIN)
      asked.set(version, performance.now())
      await site.command('reload_module', { module_id: 'bench/m0' })
      await sleep(PAUSE_MS)
    }
    going = false
    await Promise.all(callers)
    const times = [...asked].map(([version, atMs]) => (firstMs.get(version) ?? Number.NaN) - atMs)
    return { ms: median(times), ...seen }
  } finally {
    await site.stop()
  }
}

/** Many small modules in one host. */
export async function measureShared(sizes: readonly number[]): Promise<OwnFigures> {
  const shared: SharedFigure[] = []
  for (const modules of sizes) shared.push(await measureDensity(modules))
  const [least, most] = [shared[0], shared.at(-1)]
  if (least === undefined || most === undefined || least === most) return { shared }
  return { shared, sharedMiB: (most.treeMiB - least.treeMiB) / (most.modules - least.modules) }
}

async function measureDensity(modules: number): Promise<SharedFigure> {
  const site = await launchNexus({
    apps: 0,
    prepare: ({ write }) => {
      for (let at = 0; at < modules; at += 1) write(`bench/s${at}`, SMALL, { runtime: 'shared' })
    },
  })
  try {
    await started(site, modules, 120_000)
    const readyMs = performance.now() - site.startedMs
    await sleep(4_000)
    const all = treeOf(site.pid)
    const [beforeMs, sinceMs] = [cpuMs(all), performance.now()]
    await sleep(5_000)
    return {
      modules,
      readyMs,
      idlePercent: ((cpuMs(all) - beforeMs) / (performance.now() - sinceMs)) * 100,
      statusMs: await timeOf(() => site.request('GET', '/v1/status')),
      scrapeMs: await timeOf(() => site.request('GET', '/metrics')),
      treeMiB: pssMiB(all),
    }
  } finally {
    await site.stop()
  }
}

/** Memory of the smallest module that has a process of its own. */
export async function measureBare(): Promise<OwnFigures> {
  const site = await launchNexus({ apps: BARE, manifest: PLAIN, code: SMALL })
  try {
    await started(site, BARE)
    await sleep(4_000)
    const [all, daemon] = [treeOf(site.pid), [site.pid]]
    return { bareMiB: (pssMiB(all) - pssMiB(daemon)) / (all.length - 1) }
  } finally {
    await site.stop()
  }
}

/** The exec probes against the cheapest thing that Node can do, in turns. */
export async function measureProbes({ rounds }: Effort): Promise<OwnFigures> {
  const site = await launchNexus({ apps: 3, manifest: PLAIN, code: SMALL })
  try {
    await started(site, 3)
    const file = (name: string): string =>
      fileURLToPath(new URL(`../../dist/aeon-interface/${name}.js`, import.meta.url))
    const socket = ['--socket', join(site.dir, 'data/run/nexus.sock')]
    const runs = {
      node: ['-e', '0'],
      live: [file('live'), 'liveness', ...socket],
      status: [file('status'), ...socket],
    }
    const ratios = { live: [] as number[], status: [] as number[] }
    for (let round = 0; round < rounds + 1; round += 1) {
      const [nodeMs, liveMs, statusMs] = [runs.node, runs.live, runs.status].map((args) => {
        const startedMs = performance.now()
        const { status } = spawnSync(process.execPath, args, { stdio: 'ignore' })
        if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}`)
        return performance.now() - startedMs
      }) as [number, number, number]
      if (round === 0) continue // the first fills the caches
      ratios.live.push(liveMs / nodeMs)
      ratios.status.push(statusMs / nodeMs)
    }
    return { liveRatio: median(ratios.live), statusRatio: median(ratios.status) }
  } finally {
    await site.stop()
  }
}

/** What is left behind by very many reloads: memory, descriptors, processes. */
export async function measureEndurance(reloads: number): Promise<OwnFigures> {
  const endurance = [
    await endure('one instance', reloads, 1),
    await endure('a set of three', Math.ceil(reloads / 5), 3),
  ]
  return { endurance }
}

async function endure(what: string, reloads: number, replicas: number): Promise<EnduranceFigure> {
  const site = await launchNexus({ apps: 1, manifest: PLAIN, replicas, code: plainApp('v1') })
  try {
    await started(site, 1)
    const reload = async (from: number, count: number): Promise<void> => {
      for (let at = from; at < from + count; at += 1) {
        site.write('bench/m0', plainApp(`v${at}`), { ...PLAIN, replicas })
        const { status, body } = await site.command('reload_module', { module_id: 'bench/m0' })
        if (status !== 200) throw new Error(`reload ${at}: ${JSON.stringify(body)}`)
      }
    }
    await reload(2, WARM_UP)
    await sleep(5_000)
    const look = () => ({ rss: rssMiB(site.pid), files: openFiles(site.pid), tree: treeOf(site.pid).length })
    const before = look()
    const startedMs = performance.now()
    await reload(2 + WARM_UP, reloads)
    const ms = performance.now() - startedMs
    await sleep(10_000)
    const after = look()
    return {
      what,
      reloads,
      ms,
      rssMiB: [before.rss, after.rss],
      files: [before.files, after.files],
      processes: [before.tree, after.tree],
    }
  } finally {
    await site.stop()
  }
}

/** A module without a port, whose action tells its version. */
function plainApp(version: string): string {
  return `export default {
    actions: { async ping () { return { version: '${version}', pid: process.pid } } },
  }`
}

async function started(site: NexusSite, modules: number, withinMs = 60_000): Promise<void> {
  await until(
    async () => {
      const { body } = await site.request('GET', '/v1/status')
      return body?.modules?.by_state?.started === modules ? true : undefined
    },
    withinMs,
    20,
  )
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let round = 0; round < 9; round += 1) {
    const startedMs = performance.now()
    await work()
    times.push(performance.now() - startedMs)
  }
  return median(times)
}

const CALLERS = 8
/** Nobody saves more often, and the next spare host is ready by then. */
const PAUSE_MS = 250
const BARE = 15
/** What is compiled and cached once is no growth. */
const WARM_UP = 50
const SMALL = plainApp('v1')
