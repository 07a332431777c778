import type { ModuleId } from '../contracts/ids.ts'
import { rounded } from './numbers.ts'
import type { OmenLevel } from './omen-levels.ts'

export type GateName = 'G0' | 'G1' | 'G2' | 'G3' | 'G4' | 'G5' | 'G6'

/** Why a plan cannot run at all, and the change that would let it (from `current` to `needed`, where it is a number). */
export interface Obstacle {
  readonly because: string
  readonly remedy: string
  readonly current?: number
  readonly needed?: number
}

/** What the gates look at, besides the probability of success. */
export interface GateInputs {
  /** What cannot be met: a module missing or locked, no plan, more steps than allowed. */
  readonly obstacles: readonly Obstacle[]
  /** P90 of what it will use by what it may use, and the same for the median. */
  readonly load: number
  readonly medianLoad: number
  /** The hardest omen over the modules of the plan. */
  readonly omen: OmenLevel
  /** Modules of the plan with fewer than `PROVEN_OUTCOMES` outcomes of their own. */
  readonly unproven: readonly { readonly moduleId: ModuleId; readonly outcomes: number }[]
}

export interface GateHit {
  readonly gate: GateName
  /** The score may not be higher. */
  readonly cap: number
  readonly because: string
}

/** A module with fewer outcomes of its own has not shown anything yet. */
export const PROVEN_OUTCOMES = 3

const BORDERLINE_AT_MOST = 59
const FAILING_AT_MOST = 29

/** The gates that are hit, the lowest cap first. */
export function hitGates(
  inputs: GateInputs,
  { q10, q90 }: { readonly q10: number; readonly q90: number },
): GateHit[] {
  const hits: GateHit[] = []
  const add = (gate: GateName, cap: number, because: string): void => {
    hits.push({ gate, cap, because })
  }
  for (const { because } of inputs.obstacles.slice(0, OBSTACLES_SHOWN)) add('G0', 0, because)
  if (inputs.medianLoad > 1)
    add('G3', FAILING_AT_MOST, `half of such missions use ${times(inputs.medianLoad)} of their limit or more`)
  if (q90 < 0.35)
    add('G4', FAILING_AT_MOST, `even the hopeful estimate of success is ${percent(q90)}, below 35 %`)
  if (q10 < 0.5)
    add('G1', BORDERLINE_AT_MOST, `the careful estimate of success is ${percent(q10)}, below 50 %`)
  if (inputs.load >= 1)
    add('G2', BORDERLINE_AT_MOST, `one in ten such missions uses ${times(inputs.load)} of its limit or more`)
  if (inputs.omen === 'intervene')
    add('G5', BORDERLINE_AT_MOST, 'a repeated failure of a module in the plan asks for intervention')
  const [first, ...others] = inputs.unproven
  if (first !== undefined) {
    const more = others.length > 0 ? ` (and ${others.length} more such modules)` : ''
    const has = `${first.moduleId} has ${first.outcomes} outcomes of its own`
    add('G6', BORDERLINE_AT_MOST, `${has}, fewer than ${PROVEN_OUTCOMES}${more}`)
  }
  return hits
}

/** One is enough to block; a plan of a hundred missing modules must still fit into a record. */
const OBSTACLES_SHOWN = 3

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

function times(load: number): string {
  return `${rounded(load, 2)} times`
}
