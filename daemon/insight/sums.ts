const DAY_MS = 86_400_000

/** An outcome counts half after this long: modules and the work they get change within months. */
export const HALF_LIFE_MS = 30 * DAY_MS

/** How much something that happened at `atMs` still counts at `nowMs`: 2^(−age/30 d). The future counts like now. */
export function weightAt(atMs: number, nowMs: number): number {
  return 2 ** (-Math.max(0, nowMs - atMs) / HALF_LIFE_MS)
}

/**
 * Fading sums over outcomes: what a level of the estimate needs, however many outcomes there were.
 *
 * All weights are as of `atMs`. Because every outcome fades at the same pace, one factor moves them to another time.
 */
export interface Sums {
  atMs: number
  /** Outcomes, unweighted. */
  n: number
  weight: number
  /** Sum of squared weights, for the effective number. */
  squares: number
  successes: number
  firstPasses: number
  /** Weight of the successes whose goal came again within a day. */
  reworked: number
}

export function noSums(): Sums {
  return { atMs: 0, n: 0, weight: 0, squares: 0, successes: 0, firstPasses: 0, reworked: 0 }
}

/** Adds one outcome that ended at `atMs`. */
export function addOutcome(
  sums: Sums,
  atMs: number,
  outcome: { readonly success: boolean; readonly firstPass: boolean },
): void {
  const weight = moveTo(sums, atMs)
  sums.n += 1
  sums.weight += weight
  sums.squares += weight * weight
  if (outcome.success) sums.successes += weight
  if (outcome.firstPass) sums.firstPasses += weight
}

/** Says that the success of `atMs`, counted before, had to be done again. */
export function addRework(sums: Sums, atMs: number): void {
  sums.reworked += moveTo(sums, atMs)
}

/** The sums as of `nowMs`, several of them together, each `share` of its weight. */
export function sumsAt(
  nowMs: number,
  parts: Iterable<{ readonly sums: Readonly<Sums>; readonly share: number }>,
): Sums {
  const total = { ...noSums(), atMs: nowMs }
  for (const { sums, share } of parts) addFaded(total, sums, share)
  return total
}

/** Adds sums to others, each as of the moment of those, and `share` of its weight. */
export function addFaded(total: Sums, sums: Readonly<Sums>, share: number): void {
  const factor = share * weightAt(sums.atMs, total.atMs)
  total.n += sums.n
  total.weight += sums.weight * factor
  total.squares += sums.squares * factor * factor
  total.successes += sums.successes * factor
  total.firstPasses += sums.firstPasses * factor
  total.reworked += sums.reworked * factor
}

/** How many equally heavy outcomes these are worth: (Σw)²/Σw². */
export function effective({ weight, squares }: Readonly<Sums>): number {
  return squares === 0 ? 0 : (weight * weight) / squares
}

/** As the snapshot stores them. */
export type SavedSums = readonly [number, number, number, number, number, number, number]

export function saveSums(sums: Readonly<Sums>): SavedSums {
  const { atMs, n, weight, squares, successes, firstPasses, reworked } = sums
  return [atMs, n, weight, squares, successes, firstPasses, reworked]
}

export function loadSums(saved: SavedSums): Sums {
  const [atMs, n, weight, squares, successes, firstPasses, reworked] = saved
  return { atMs, n, weight, squares, successes, firstPasses, reworked }
}

/** Moves the sums on to `atMs` and returns the weight of something that happened then (below 1 when it is older). */
function moveTo(sums: Sums, atMs: number): number {
  if (atMs > sums.atMs) {
    const factor = weightAt(sums.atMs, atMs)
    sums.weight *= factor
    sums.squares *= factor * factor
    sums.successes *= factor
    sums.firstPasses *= factor
    sums.reworked *= factor
    sums.atMs = atMs
  }
  return weightAt(atMs, sums.atMs)
}
