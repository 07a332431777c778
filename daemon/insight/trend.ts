/** Where a series is heading, in units a step. */
export interface Trend {
  /** Of Mann and Kendall's test, two-sided: how likely such an order is by chance. */
  readonly p: number
  /** Median, 10th and 90th percentile of the slopes of all pairs. */
  readonly slope: number
  readonly low: number
  readonly high: number
  /** Median of what is left when the slope is taken away: the level at step 0. */
  readonly intercept: number
  /** How many independent values the series is worth, from the correlation of neighbours. */
  readonly nEff: number
  /** All slopes, rising. */
  readonly slopes: Float64Array
}

/**
 * The trend of a series with one value for each step; undefined unless it rises or falls beyond chance (p < 0.01).
 *
 * Theil and Sen's slope (Sen 1968): one value in four may be anything, and it does not move.
 */
export function trendOf(values: readonly number[], pMax = 0.01): Trend | undefined {
  const n = values.length
  if (n < STEPS_MIN) return undefined
  const p = mannKendall(values)
  if (p >= pMax) return undefined
  const slopes = pairSlopes(values)
  const slope = slopes[Math.floor((slopes.length - 1) / 2)] ?? 0
  const rests = Float64Array.from(values, (value, step) => value - slope * step)
  const nEff = effectiveOf(rests)
  rests.sort()
  return {
    p,
    slope,
    low: slopes[Math.floor(0.1 * (slopes.length - 1))] ?? 0,
    high: slopes[Math.ceil(0.9 * (slopes.length - 1))] ?? 0,
    intercept: rests[Math.floor((n - 1) / 2)] ?? 0,
    nEff,
    slopes,
  }
}

/**
 * How likely as much order is by chance, two-sided: Mann and Kendall's S with its variance corrected for ties, by the
 * normal approximation with a correction for continuity (Kendall 1975).
 */
export function mannKendall(values: readonly number[]): number {
  const n = values.length
  let s = 0
  for (let i = 0; i < n; i += 1)
    for (let j = i + 1; j < n; j += 1) s += Math.sign((values[j] ?? 0) - (values[i] ?? 0))
  const ties = [...Map.groupBy(values, (value) => value).values()].map(({ length }) => length)
  const tied = ties.reduce((sum, t) => sum + t * (t - 1) * (2 * t + 5), 0)
  const variance = (n * (n - 1) * (2 * n + 5) - tied) / 18
  if (variance <= 0 || s === 0) return 1
  return 2 * normalTail((Math.abs(s) - 1) / Math.sqrt(variance))
}

/** Below this many minutes a trend is a mood. */
const STEPS_MIN = 30

function pairSlopes(values: readonly number[]): Float64Array {
  const n = values.length
  const slopes = new Float64Array((n * (n - 1)) / 2)
  let at = 0
  for (let i = 0; i < n; i += 1)
    for (let j = i + 1; j < n; j += 1) {
      slopes[at] = ((values[j] ?? 0) - (values[i] ?? 0)) / (j - i)
      at += 1
    }
  return slopes.sort()
}

/** `n(1−r)/(1+r)` with the correlation r of neighbours (Bartlett 1946): a smooth line has seen little. */
function effectiveOf(rests: Float64Array): number {
  const n = rests.length
  const mean = rests.reduce((sum, rest) => sum + rest, 0) / n
  let [together, alone] = [0, 0]
  for (let at = 0; at < n; at += 1) {
    const here = (rests[at] ?? 0) - mean
    alone += here * here
    if (at > 0) together += here * ((rests[at - 1] ?? 0) - mean)
  }
  // Nothing left beside the line: the values agree, and each says the same.
  const r = alone > 0 ? Math.min(0.999, Math.max(0, together / alone)) : 0
  return (n * (1 - r)) / (1 + r)
}

/** P(Z > z) of the standard normal for z ≥ 0: Abramowitz and Stegun 7.1.26, to 1.5e-7. */
function normalTail(z: number): number {
  const x = z / Math.SQRT2
  const t = 1 / (1 + 0.3275911 * x)
  const poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
  return 0.5 * poly * Math.exp(-x * x)
}
