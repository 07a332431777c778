/**
 * The probability that a Beta(a, b) variable stays at or below `x`: the regularised incomplete beta function.
 *
 * Continued fraction by the modified Lentz method (Press et al., Numerical Recipes, 3rd ed., 6.4).
 */
export function betaCdf(x: number, a: number, b: number): number {
  return cdfWith(logNormOf(a, b), x, a, b)
}

/**
 * The value below which a Beta(a, b) variable stays with probability `p`, to about twelve digits.
 *
 * From the normal approximation of Abramowitz and Stegun (26.5.22) by Halley's steps, each of which triples the digits
 * (Numerical Recipes, 6.14.11), inside a bracket.
 */
export function betaQuantile(p: number, a: number, b: number): number {
  const logNorm = logNormOf(a, b)
  let [low, high, x] = [0, 1, guess(p, a, b)]
  for (let turn = 0; turn < 200 && high - low > 1e-15; turn += 1) {
    const miss = cdfWith(logNorm, x, a, b) - p
    if (miss === 0) return x
    if (miss > 0) high = x
    else low = x
    const density = Math.exp(logNorm + (a - 1) * Math.log(x) + (b - 1) * Math.log1p(-x))
    const newton = miss / density
    const step = newton / (1 - 0.5 * Math.min(1, newton * ((a - 1) / x - (b - 1) / (1 - x))))
    const next = x - step
    // The cube of such a step is beyond what a double holds.
    if (Math.abs(newton) < 1e-6 * Math.min(x, 1 - x)) return next
    x = next > low && next < high ? next : (low + high) / 2
  }
  return x
}

function logNormOf(a: number, b: number): number {
  return logGamma(a + b) - logGamma(a) - logGamma(b)
}

function cdfWith(logNorm: number, x: number, a: number, b: number): number {
  if (x <= 0) return 0
  if (x >= 1) return 1
  const front = Math.exp(logNorm + a * Math.log(x) + b * Math.log1p(-x))
  // The fraction converges fast on this side only; the other side is the mirror image.
  return x < (a + 1) / (a + b + 2)
    ? (front * betaFraction(x, a, b)) / a
    : 1 - (front * betaFraction(1 - x, b, a)) / b
}

/** Where to begin looking for a quantile: anything inside (0, 1) would do. */
function guess(p: number, a: number, b: number): number {
  if (a < 1 || b < 1) return a / (a + b)
  const t = Math.sqrt(-2 * Math.log(p < 0.5 ? p : 1 - p))
  const tail = (2.30753 + t * 0.27061) / (1 + t * (0.99229 + t * 0.04481)) - t
  const z = p < 0.5 ? -tail : tail
  const curve = (z * z - 3) / 6
  const [one, other] = [1 / (2 * a - 1), 1 / (2 * b - 1)]
  const h = 2 / (one + other)
  const w = (z * Math.sqrt(Math.max(0, curve + h))) / h - (other - one) * (curve + 5 / 6 - 2 / (3 * h))
  const x = a / (a + b * Math.exp(2 * w))
  return x > 0 && x < 1 ? x : a / (a + b)
}

/** The probability that a Gamma(shape, rate 1) variable stays at or below `x` (Numerical Recipes, 6.2). */
export function gammaCdf(x: number, shape: number): number {
  if (x <= 0) return 0
  const front = Math.exp(shape * Math.log(x) - x - logGamma(shape))
  return x < shape + 1 ? front * gammaSeries(x, shape) : 1 - front * gammaFraction(x, shape)
}

/** The value below which a Gamma(shape, rate) variable stays with probability `p`. */
export function gammaQuantile(p: number, shape: number, rate: number): number {
  let high = shape + 1
  while (gammaCdf(high, shape) < p) high *= 2
  const logNorm = logGamma(shape)
  const density = (x: number): number => Math.exp((shape - 1) * Math.log(x) - x - logNorm)
  return rootOf((x) => gammaCdf(x, shape) - p, density, { low: 0, high, start: high / 2 }) / rate
}

/** ln Γ(x) for x > 0 (Lanczos, g = 7, nine terms; Godfrey's coefficients). */
export function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x)
  const shifted = x - 1
  let sum = 0.99999999999980993
  // A loop, since judging a mission comes here some twenty times.
  for (let index = 0; index < LANCZOS.length; index += 1) sum += (LANCZOS[index] ?? 0) / (x + index)
  const t = shifted + 7.5
  return HALF_LOG_TWO_PI + (shifted + 0.5) * Math.log(t) - t + Math.log(sum)
}

const HALF_LOG_TWO_PI = 0.5 * Math.log(2 * Math.PI)
const LANCZOS = [
  676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
  -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
]

/** Enough for parameters of some hundred millions: the fraction needs about √max(a, b) turns. */
const TURNS_MAX = 20_000
const TINY = 1e-300
const PRECISION = 1e-15

function betaFraction(x: number, a: number, b: number): number {
  let c = 1
  let d = 1 / awayFromZero(1 - ((a + b) * x) / (a + 1))
  let value = d
  for (let m = 1; m <= TURNS_MAX; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
    d = 1 / awayFromZero(1 + even * d)
    c = awayFromZero(1 + even / c)
    value *= d * c
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))
    d = 1 / awayFromZero(1 + odd * d)
    c = awayFromZero(1 + odd / c)
    value *= d * c
    if (Math.abs(d * c - 1) <= PRECISION) break
  }
  return value
}

function gammaSeries(x: number, shape: number): number {
  let term = 1 / shape
  let sum = term
  for (let n = 1; n <= TURNS_MAX && Math.abs(term) > Math.abs(sum) * PRECISION; n += 1) {
    term *= x / (shape + n)
    sum += term
  }
  return sum
}

function gammaFraction(x: number, shape: number): number {
  let b = x + 1 - shape
  let c = 1 / TINY
  let d = 1 / awayFromZero(b)
  let value = d
  for (let n = 1; n <= TURNS_MAX; n += 1) {
    const an = -n * (n - shape)
    b += 2
    d = 1 / awayFromZero(an * d + b)
    c = awayFromZero(b + an / c)
    value *= d * c
    if (Math.abs(d * c - 1) <= PRECISION) break
  }
  return value
}

function awayFromZero(value: number): number {
  return Math.abs(value) < TINY ? TINY : value
}

/** Newton's steps, kept inside a bracket that halves whenever a step would leave it: it always arrives. */
function rootOf(
  f: (x: number) => number,
  slope: (x: number) => number,
  { low, high, start }: { low: number; high: number; start: number },
): number {
  let x = start
  for (let turn = 0; turn < 200 && high - low > 1e-14 * (1 + high); turn += 1) {
    const miss = f(x)
    if (miss === 0) return x
    if (miss > 0) high = x
    else low = x
    const next = x - miss / slope(x)
    const inside = next > low && next < high
    const to = inside ? next : (low + high) / 2
    if (Math.abs(to - x) < 1e-15 * (1 + x)) return to
    x = to
  }
  return x
}
