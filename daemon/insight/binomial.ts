import { betaCdf, logGamma } from './beta.ts'

/** P(X ≥ k) of n trials that each succeed with `rate`: the incomplete beta function I(rate; k, n−k+1). */
export function binomialAtLeast(k: number, n: number, rate: number): number {
  if (k <= 0) return 1
  return k > n ? 0 : betaCdf(rate, k, n - k + 1)
}

/** P(X ≥ k) of n trials whose common rate is only known as Beta(a, b). */
export function betaBinomialAtLeast(k: number, n: number, a: number, b: number): number {
  const logBeta = (x: number, y: number): number => logGamma(x) + logGamma(y) - logGamma(x + y)
  const logChoose = (of: number, take: number): number =>
    logGamma(of + 1) - logGamma(take + 1) - logGamma(of - take + 1)
  let sum = 0
  for (let x = Math.max(0, k); x <= n; x += 1)
    sum += Math.exp(logChoose(n, x) + logBeta(x + a, n - x + b) - logBeta(a, b))
  return Math.min(1, sum)
}
