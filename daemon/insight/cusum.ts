import { OMEN_THRESHOLDS, type OmenLevel } from './omen-levels.ts'

/** What a run of trials has come to: `score` is the CUSUM, `count` the failures since it was last 0. */
export interface Cusum {
  readonly score: number
  readonly count: number
}

export const CALM: Cusum = { score: 0, count: 0 }

/**
 * One trial of a Bernoulli CUSUM: does this fail about three times as often as it usually does?
 *
 * A failure adds ln 3 (less only where the usual rate is above 30 %), so an unbroken run of failures meets the levels
 * exactly at its 3rd, 7th and 13th; a success takes away the more, the more often this usually fails.
 *
 * @param usual - The long-run rate of failure, from `usualRate`.
 */
export function stepCusum(state: Cusum, failed: boolean, usual: number): Cusum {
  return failed ? failedOnce(state, usual) : succeeded(state, usual, 1)
}

/** `trials` successes in a row at once. */
export function succeeded(state: Cusum, usual: number, trials: number): Cusum {
  if (state.score === 0) return CALM
  const score = state.score + trials * Math.log((1 - raised(usual)) / (1 - usual))
  return score > 0 ? { score, count: state.count } : CALM
}

/** The level that count and score have reached together. */
export function levelAt({ score, count }: Cusum, onProbation = false): OmenLevel {
  const reached = OMEN_THRESHOLDS.find((threshold) => {
    return count >= countFor(threshold, onProbation) && score >= threshold.score
  })
  return reached?.level ?? 'ignore'
}

/** The level of so many minutes in a row beyond a limit, which is a score of its own. */
export function levelOfRun(count: number, onProbation = false): OmenLevel {
  return levelAt({ score: Number.POSITIVE_INFINITY, count }, onProbation)
}

/** The next harder level and the count it takes; undefined at the top. */
export function nextLevel(
  level: OmenLevel,
  onProbation = false,
): { readonly level: OmenLevel; readonly at: number } | undefined {
  const harder = OMEN_THRESHOLDS.filter((threshold) => ORDER[threshold.level] > ORDER[level]).map(
    (threshold) => ({ level: threshold.level, at: countFor(threshold, onProbation) }),
  )
  // Hardest first: on probation the lock comes as early as the intervention, and before it.
  return harder.reduce<(typeof harder)[number] | undefined>(
    (least, each) => (least === undefined || each.at < least.at ? each : least),
    undefined,
  )
}

/** The usual rate of failure from fading counts, kept where the test still works: 2 % to 30 %. */
export function usualRate(failures: number, trials: number): number {
  return Math.min(0.3, Math.max(0.02, (failures + 1) / (trials + 3)))
}

/** A module that was unlocked a day ago or less is locked again at its seventh failure. */
const PROBATION_COUNT = 7

const ORDER = { ignore: 0, warn: 1, intervene: 2, lock: 3 } as const satisfies Record<OmenLevel, number>

function countFor(threshold: (typeof OMEN_THRESHOLDS)[number], onProbation: boolean): number {
  return threshold.level === 'lock' && onProbation ? PROBATION_COUNT : threshold.count
}

function failedOnce({ score, count }: Cusum, usual: number): Cusum {
  return { score: score + Math.log(raised(usual) / usual), count: count + 1 }
}

/** The rate that is looked for. */
function raised(usual: number): number {
  return Math.min(0.9, 3 * usual)
}
