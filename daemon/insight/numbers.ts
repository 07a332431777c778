/**
 * The lower end of Wilson's interval for `successes` of `n`, one-sided: the true rate lies above it with the
 * confidence that belongs to `z` (1.2816 for 90 %). 0 for no trials.
 */
export function wilsonLower(successes: number, n: number, z = Z_90_ONE_SIDED): number {
  if (n <= 0) return 0
  const rate = successes / n
  const spread = z * Math.sqrt((rate * (1 - rate)) / n + (z * z) / (4 * n * n))
  return Math.max(0, (rate + (z * z) / (2 * n) - spread) / (1 + (z * z) / n))
}

const Z_90_ONE_SIDED = 1.2815515655446004

/** Successes of so many trials. */
export interface Tally {
  readonly n: number
  readonly successes: number
}

/**
 * How much higher the rate of `one` is than that of `other`, with its interval, 90 % unless `z` says otherwise: Newcombe's hybrid of two
 * Wilson intervals (1998, method 10). Undefined where one of them has no trials.
 */
export function rateDifference(
  one: Tally,
  other: Tally,
  z = Z_90_TWO_SIDED,
): { readonly difference: number; readonly interval: readonly [number, number] } | undefined {
  if (one.n === 0 || other.n === 0) return undefined
  const [mine, theirs] = [one, other].map(({ n, successes }) => ({
    rate: successes / n,
    low: wilsonLower(successes, n, z),
    high: 1 - wilsonLower(n - successes, n, z),
  }))
  if (mine === undefined || theirs === undefined) return undefined
  const difference = mine.rate - theirs.rate
  const down = Math.hypot(mine.rate - mine.low, theirs.high - theirs.rate)
  const up = Math.hypot(mine.high - mine.rate, theirs.rate - theirs.low)
  return { difference, interval: [difference - down, difference + up] }
}

const Z_90_TWO_SIDED = 1.6448536269514722

/** A value and how much it counts. */
interface Weighted {
  readonly value: number
  readonly weight: number
}

/** Standard deviation over mean; undefined below two values or for a mean of 0. */
export function variation(values: readonly Weighted[]): number | undefined {
  const total = values.reduce((sum, { weight }) => sum + weight, 0)
  const mean = values.reduce((sum, { value, weight }) => sum + value * weight, 0) / total
  if (values.length < 2 || !(mean > 0)) return undefined
  const squares = values.reduce((sum, { value, weight }) => sum + weight * (value - mean) ** 2, 0)
  return Math.sqrt(squares / total) / mean
}

/** To `digits` places behind the point, as numbers are stored and shown. */
export function rounded(value: number, digits: number): number {
  const factor = 10 ** digits
  return Math.round(value * factor) / factor
}

/**
 * Shares rounded to tenths that still add up to the rounded total (largest remainder), so that a reader who adds
 * them finds no error.
 */
export function sharesInTenths(shares: readonly number[], total: number): number[] {
  const tenths = shares.map((share) => Math.floor(share * 10))
  const rests = shares.map((share, index) => share * 10 - (tenths[index] ?? 0))
  let missing = Math.round(total * 10) - tenths.reduce((sum, share) => sum + share, 0)
  for (; missing > 0; missing -= 1) {
    const most = rests.indexOf(Math.max(...rests))
    if (most < 0 || rests[most] === Number.NEGATIVE_INFINITY) break
    tenths[most] = (tenths[most] ?? 0) + 1
    rests[most] = Number.NEGATIVE_INFINITY
  }
  return tenths.map((share) => share / 10)
}

/** The middle value; the mean of the two middle ones where there are two. NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
}
