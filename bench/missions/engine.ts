import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { loadSettings } from '../../daemon/config-load.ts'
import { Insight } from '../../daemon/insight/insight.ts'
import { systemChance } from '../../daemon/kit/chance.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { Missions } from '../../daemon/missions/missions.ts'
import type { ActionAnswer, Authority, MissionPorts } from '../../daemon/missions/port.ts'
import { dataPaths } from '../../daemon/storage/data-folder.ts'
import { Journal } from '../../daemon/storage/journal.ts'
import { nodeDisk } from '../../daemon/storage/node-disk.ts'
import { RecordLog } from '../../daemon/storage/record-log.ts'
import { MODULES, missionBody } from './modules.ts'

/*
 * The engine of missions without HTTP and without processes: the rooms themselves on a journal on this disk, judging
 * included, with an action that answers at once. Arguments: a folder, how many missions. Prints missions a second.
 */

/** Missions a second, 64 in flight, each from its creation to its end. */
export async function runEngine(root: string, missions: number): Promise<number> {
  const dir = mkdtempSync(join(root, 'nxm-engine-'))
  try {
    const engine = await openEngine(dir)
    await engine.run(Math.ceil(missions / 10))
    const startedMs = performance.now()
    await engine.run(missions)
    const perSecond = missions / ((performance.now() - startedMs) / 1_000)
    await engine.close()
    return perSecond
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function openEngine(dir: string) {
  const insight = new Insight({ clock: systemClock })
  const { journal } = await Journal.open({
    disk: nodeDisk,
    clock: systemClock,
    dataDir: dir,
    segmentBytesMax: 256 * 1_048_576,
    onReplay: () => {},
  })
  const missions = new Missions(await portsOf(dir, journal, insight))
  journal.subscribe((facts) => {
    for (const fact of facts) {
      insight.fold(fact)
      missions.fold(fact)
    }
  })
  const waiting = new Map<string, () => void>()
  const ended = new Set<string>()
  missions.onEnded(({ mission_id: id }) => {
    const wake = waiting.get(id)
    if (wake === undefined) ended.add(id)
    else wake()
    waiting.delete(id)
  })
  await journal.append(selfTested())
  insight.begin()
  await missions.recover()
  return {
    run: async (count: number): Promise<void> => {
      let next = 0
      const work = async (): Promise<void> => {
        while (next < count) {
          next += 1
          const { mission } = await missions.create(AUTHORITY, missionBody(next) as never)
          if (mission.decision !== 'SAFE') throw new Error(`a mission of the bench is ${mission.decision}`)
          if (ended.delete(mission.mission_id)) continue
          await new Promise<void>((resolve) => waiting.set(mission.mission_id, resolve))
        }
      }
      await Promise.all(Array.from({ length: IN_FLIGHT }, work))
    },
    close: () => journal.close(),
  }
}

async function portsOf(dir: string, journal: Journal, insight: Insight): Promise<MissionPorts> {
  // Wider than the load, as in the daemon that is measured.
  const wide = 2 * IN_FLIGHT
  const lanes = { coin: wide, forge: wide, library: wide, sanctuary: wide }
  const { settings } = await loadSettings({ env: {}, flags: {}, cwd: dir })
  const spec = { description: 'answers at once', timeout_ms: 30_000, idempotent: true, concurrency: 64 }
  return {
    recorder: journal,
    calls: {
      action: () => spec,
      module: () => ({ known: true, locked: false, callable: true, generation: GENERATION }),
      planners: () => [],
      call: async ({ input }): Promise<ActionAnswer> => ({
        output: input,
        artifacts: [],
        instance: `${MODULES[0]}#1`,
        generation: GENERATION,
        durationMs: 0,
        cpuMs: 0,
      }),
    },
    judge: insight,
    runes: { best: () => undefined },
    successEstimate: () => 0.5,
    blobs: {
      put: () => Promise.reject(new Error('nothing here is large')),
      get: () => Promise.resolve(undefined),
    },
    records: await recordsIn(dir),
    clock: systemClock,
    chance: systemChance,
    freeBytes: () => Promise.resolve(Number.MAX_SAFE_INTEGER),
    log: (level, message, fields) => {
      if (level === 'error') process.stderr.write(`${message} ${JSON.stringify(fields)}\n`)
    },
    settings: { ...settings.missions, concurrency: wide, lanes },
  }
}

/** Missions at rest are on the disk, as in a daemon. */
async function recordsIn(dir: string): Promise<MissionPorts['records']> {
  const records = await RecordLog.open({ disk: nodeDisk, paths: dataPaths(dir) })
  if (records === undefined) throw new Error('a new record log could not be opened')
  return {
    append: (line) => records.append(line),
    read: (places) => records.read(places),
    trouble: (error) => process.stderr.write(`${error}\n`),
  }
}

/** As a supervisor records it: proven, so that its missions are SAFE. */
function selfTested() {
  const runs = Array.from({ length: 3 }, () => ({ action: 'again', ok: true, duration_ms: 1 }))
  const d = { module_id: MODULES[0], generation: GENERATION, categories: ['coin'], runs }
  return { type: 'module.self_tested', actor: { kind: 'daemon', name: 'supervisor' }, d } as const
}

const AUTHORITY: Authority = {
  principal: { kind: 'local', name: 'local', roles: ['admin'], permissions: [] },
  operatorKey: false,
}
const GENERATION = 'a'.repeat(64)
const IN_FLIGHT = 64

if (import.meta.main) {
  const [root = '.', missions = '1000'] = process.argv.slice(2)
  process.stdout.write(JSON.stringify(await runEngine(root, Number(missions))))
  process.exit()
}
