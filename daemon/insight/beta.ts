/**
 * The probability that a Beta(a, b) variable stays at or below `x`: the regularised incomplete beta function.
 *
 * Continued fraction by the modified Lentz method (Press et al., Numerical Recipes, 3rd ed., 6.4).
 */
export function betaCdf(x: number, a: number, b: number): number {
  if (x <= 0) return 0
  if (x >= 1) return 1
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x))
  // The fraction converges fast on this side only; the other side is the mirror image.
  return x < (a + 1) / (a + b + 2)
    ? (front * betaFraction(x, a, b)) / a
    : 1 - (front * betaFraction(1 - x, b, a)) / b
}

/** The value below which a Beta(a, b) variable stays with probability `p`, to about twelve digits. */
export function betaQuantile(p: number, a: number, b: number): number {
  const logNorm = logGamma(a + b) - logGamma(a) - logGamma(b)
  const density = (x: number): number => Math.exp(logNorm + (a - 1) * Math.log(x) + (b - 1) * Math.log1p(-x))
  return rootOf((x) => betaCdf(x, a, b) - p, density, { low: 0, high: 1, start: a / (a + b) })
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
  const sum = LANCZOS.reduce(
    (total, term, index) => total + term / (shifted + index + 1),
    0.99999999999980993,
  )
  const t = shifted + 7.5
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(t) - t + Math.log(sum)
}

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
