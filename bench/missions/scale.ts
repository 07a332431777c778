import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { median } from '../kit/numbers.ts'
import { pssMiB, rssMiB } from '../kit/processes.ts'
import { type History, makeHistory } from './history.ts'
import { launchSite, type MissionSite, withSite } from './site.ts'
import { makeTemplate, type Template } from './template.ts'
import { addressOf, client, load } from './throughput.ts'

/** What a daemon with so much of a past costs. */
export interface ScaleFigure {
  readonly missions: number
  readonly records: number
  /** From spawn to ready: the first time, when everything is derived from the journal, and after a clean stop. */
  readonly firstStartMs: number
  readonly startMs: number
  readonly stopMs: number
  /** The daemon alone, when it has just started, and when everything below has been asked of it. */
  readonly freshMiB: number
  readonly usedMiB: number
  readonly usedRssMiB: number
  readonly journalMiB: number
  readonly folderMiB: number
  /** By what is asked. */
  readonly reads: Readonly<Record<string, ReadFigure>>
  /** Handed in with 64 in flight, and worked off; the same of an empty daemon beside it, by turns. */
  readonly createPerSecond: number
  readonly emptyCreatePerSecond: number
  readonly perSecond: number
  readonly emptyPerSecond: number
  /** One after the other, on one connection. */
  readonly createP50Ms: number
  readonly createP99Ms: number
  readonly emptyCreateP50Ms: number
  readonly emptyCreateP99Ms: number
}

interface ReadFigure {
  readonly p50Ms: number
  readonly p99Ms: number
}

export interface ScaleEffort {
  readonly reads: number
  readonly rounds: number
  readonly missionsEach: number
}

/** Measures each size in a folder of its own, one after the other; each goes when it has been measured. */
export async function measureScale(
  root: string,
  sizes: readonly number[],
  effort: ScaleEffort,
  say: (line: string) => void,
): Promise<readonly ScaleFigure[]> {
  await requireRoom(root, Math.max(...sizes))
  const template = await makeTemplate(root)
  const figures: ScaleFigure[] = []
  try {
    for (const missions of sizes) figures.push(await measureSize(root, template, missions, effort, say))
  } finally {
    rmSync(template.dir, { recursive: true, force: true })
  }
  return figures
}

async function measureSize(
  root: string,
  template: Template,
  missions: number,
  effort: ScaleEffort,
  say: (line: string) => void,
): Promise<ScaleFigure> {
  const dir = mkdtempSync(join(root, 'nxm-history-'))
  try {
    say(`history of ${missions}: writing the journal`)
    const history = makeHistory(template, dir, missions, SEED)
    say(`history of ${missions}: first start`)
    const first = await launchSite(dir, FIRST_START_MS)
    const stoppingMs = performance.now()
    await first.stop()
    const stopMs = performance.now() - stoppingMs
    say(`history of ${missions}: measuring`)
    const site = await launchSite(dir, FIRST_START_MS)
    try {
      const figure = await measureSite(root, site, history, effort)
      return { ...figure, firstStartMs: first.readyMs, stopMs }
    } finally {
      await site.stop()
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function measureSite(
  root: string,
  site: MissionSite,
  history: History,
  effort: ScaleEffort,
): Promise<Omit<ScaleFigure, 'firstStartMs' | 'stopMs'>> {
  const freshMiB = pssMiB([site.pid])
  const folderMiB = bytesIn(join(site.dir, 'data')) / MIB
  const reads: Record<string, ReadFigure> = {}
  for (const [name, paths] of Object.entries(questions(history))) {
    if (paths.length > 0) reads[name] = await ask(site, paths, effort.reads)
  }
  const beside = await withSite(root, (empty) => compareCreates(site, empty, effort))
  return {
    missions: history.missions,
    records: history.records,
    startMs: site.readyMs,
    freshMiB,
    usedMiB: pssMiB([site.pid]),
    usedRssMiB: rssMiB(site.pid),
    journalMiB: history.journalBytes / MIB,
    folderMiB,
    reads,
    ...beside,
  }
}

/** What people ask of a history, and what is worst for a list: a filter that nothing passes. */
function questions({ sample }: History): Record<string, string[]> {
  const list = (query: string): string => `/v1/missions/list?limit=50${query}`
  return {
    'list, first page': [list('')],
    'list, a page deep inside': sample.map((id) => list(`&after=${id}`)),
    'list, failed': [list('&status=failed')],
    'list, failed, deep inside': sample.map((id) => list(`&status=failed&after=${id}`)),
    'list, of a module and category': sample.map((id) =>
      list(`&module=bench/flaky&category=forge&after=${id}`),
    ),
    'list, nothing passes': [list('&module=bench/other&category=sanctuary&status=failed')],
    'one of them in full': sample.map((id) => `/v1/missions/${id}`),
  }
}

async function ask(site: MissionSite, paths: readonly string[], count: number): Promise<ReadFigure> {
  // Each page once, in an order that jumps about, and no more of them than fit on a command line.
  const some = Array.from({ length: Math.min(PATHS_MAX, paths.length) }, (_, at) => at).map(
    (at) => paths[(at * LEAP) % paths.length] ?? '',
  )
  const order = { ...addressOf(site), target: { path: site.socketPath }, connections: 1, paths: some }
  await client({ ...order, how: 'read', missions: Math.ceil(count / 10) })
  const { p50Ms, p99Ms, complaint } = await client({ ...order, how: 'read', missions: count })
  if (complaint !== undefined) throw new Error(complaint)
  return { p50Ms, p99Ms }
}

/** By turns, so that both meet the same machine. */
async function compareCreates(full: MissionSite, empty: MissionSite, { rounds, missionsEach }: ScaleEffort) {
  const way = { how: 'create', over: 'socket', action: 'again' } as const
  const created: Record<'full' | 'empty', { created: number[]; ended: number[] }> = {
    full: { created: [], ended: [] },
    empty: { created: [], ended: [] },
  }
  const alone: Record<'full' | 'empty', ReadFigure[]> = { full: [], empty: [] }
  for (let round = -1; round < rounds; round += 1) {
    for (const [name, site] of [
      ['full', full],
      ['empty', empty],
    ] as const) {
      const figure = await load(site, way, missionsEach)
      if (typeof figure === 'string') throw new Error(figure)
      const target = { path: site.socketPath }
      const order = { ...addressOf(site), target, how: 'create', connections: 1, missions: ALONE } as const
      const { p50Ms, p99Ms } = await client(order)
      if (round < 0) continue // It only warms.
      created[name].created.push(figure.createdPerSecond)
      created[name].ended.push(figure.perSecond)
      alone[name].push({ p50Ms, p99Ms })
    }
  }
  const p50 = (name: 'full' | 'empty'): number => median(alone[name].map(({ p50Ms }) => p50Ms))
  const p99 = (name: 'full' | 'empty'): number => median(alone[name].map(({ p99Ms }) => p99Ms))
  return {
    createPerSecond: median(created.full.created),
    emptyCreatePerSecond: median(created.empty.created),
    perSecond: median(created.full.ended),
    emptyPerSecond: median(created.empty.ended),
    createP50Ms: p50('full'),
    createP99Ms: p99('full'),
    emptyCreateP50Ms: p50('empty'),
    emptyCreateP99Ms: p99('empty'),
  }
}

async function requireRoom(root: string, missions: number): Promise<void> {
  const { bavail, bsize } = await statfs(root)
  const due = missions * ROOM_BYTES_EACH
  if (bavail * bsize < due) {
    throw new Error(`${missions} missions need ${Math.ceil(due / 2 ** 30)} GiB in ${root} for a while`)
  }
}

function bytesIn(dir: string): number {
  const sizes = readdirSync(dir, { withFileTypes: true }).map((entry) => {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) return bytesIn(path)
    return entry.isFile() ? statSync(path).size : 0
  })
  return sizes.reduce((sum, size) => sum + size, 0)
}

const MIB = 1_048_576
/** Journal, derived files, and one more of those while they are made anew. */
const ROOM_BYTES_EACH = 20_000
const FIRST_START_MS = 420_000
const PATHS_MAX = 500
const LEAP = 733
const ALONE = 100
const SEED = 4
