import { printTable } from '../kit/table.ts'
import { nexus } from './nexus.ts'
import {
  measureActionCrash,
  measureActions,
  measureBare,
  measureEndurance,
  measureProbes,
  measureShared,
  type OwnFigures,
} from './ours.ts'
import { pm2 } from './pm2.ts'
import {
  type Effort,
  type Figures,
  FULL,
  measureBroken,
  measureCrash,
  measureFleet,
  measureHang,
  measureReloads,
  QUICK,
} from './rows.ts'
import type { Contender } from './site.ts'
import { supervisord } from './supervisord.ts'
import { tableOf } from './table.ts'
import { watt } from './watt.ts'

export interface SupervisionOptions {
  readonly peersDir: string
  readonly only: readonly string[]
  readonly rows: readonly string[]
  readonly quick: boolean
  say(line: string): void
}

const ROWS = {
  fleet: measureFleet,
  crash: measureCrash,
  reloads: measureReloads,
  broken: measureBroken,
  hang: measureHang,
} as const satisfies Record<string, (contender: Contender, effort: Effort) => Promise<Figures>>

const OWN_ROWS = {
  'action crash': measureActionCrash,
  actions: measureActions,
  shared: ({ rounds }: Effort) => measureShared(rounds > 5 ? [10, 100, 1_000] : [10, 50]),
  bare: measureBare,
  probes: measureProbes,
  endurance: ({ rounds }: Effort) => measureEndurance(rounds > 5 ? 1_000 : 50),
} as const satisfies Record<string, (effort: Effort) => Promise<OwnFigures>>

export interface SupervisionFigures {
  /** By contender; a sentence for one that could not be measured. */
  readonly all: Readonly<Record<string, Figures | string>>
  readonly own: OwnFigures
}

/** Measures NEXUS beside the others, one after the other on the same machine, and prints both as one table. */
export async function supervision(options: SupervisionOptions): Promise<SupervisionFigures> {
  const { peersDir, only, rows, quick, say } = options
  const effort = quick ? QUICK : FULL
  const contenders = [nexus(), pm2(peersDir), supervisord(), watt(peersDir)].filter(
    ({ name }) => only.length === 0 || only.includes(name.toLowerCase()),
  )
  const wanted = (row: string): boolean => rows.length === 0 || rows.includes(row)
  const all: Record<string, Figures | string> = {}
  for (const contender of contenders) {
    const missing = contender.missing()
    all[contender.name] = missing ?? (await measureAll(contender, effort, wanted, say))
  }
  let own: OwnFigures = {}
  if (typeof all['NEXUS'] === 'object') {
    for (const [row, measure] of Object.entries(OWN_ROWS)) {
      if (!wanted(row)) continue
      say(`NEXUS: ${row}`)
      own = { ...own, ...(await orNothing(`NEXUS: ${row}`, () => measure(effort), say)) }
    }
  }
  printTable(tableOf({ all, own }))
  return { all, own }
}

async function measureAll(
  contender: Contender,
  effort: Effort,
  wanted: (row: string) => boolean,
  say: (line: string) => void,
): Promise<Figures> {
  let figures: Figures = {}
  for (const [row, measure] of Object.entries(ROWS)) {
    if (!wanted(row)) continue
    say(`${contender.name}: ${row}`)
    const what = `${contender.name}: ${row}`
    figures = { ...figures, ...(await orNothing(what, () => measure(contender, effort), say)) }
  }
  return figures
}

/** What one of them cannot do says something about it; the others are measured all the same. */
async function orNothing<T extends object>(
  what: string,
  measure: () => Promise<T>,
  say: (line: string) => void,
): Promise<Partial<T>> {
  try {
    return await measure()
  } catch (error) {
    say(`${what} could not be measured: ${(error as Error).message}`)
    return {}
  }
}
