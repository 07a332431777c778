import { betaQuantile } from './beta.ts'

/** How long something took, or at least took: one that was cut off at its limit would have gone on. */
export interface Duration {
  readonly ms: number
  readonly censored: boolean
}

/** The probability of taking longer than a limit, with what it stands on. */
export interface Outlasting {
  readonly probability: number
  /** 80 %. */
  readonly interval: readonly [number, number]
  readonly n: number
  readonly nEff: number
}

/**
 * The survival curve of durations: at each of them, the share that takes longer.
 *
 * Kaplan and Meier's product (1958) with one more at risk who is never seen to end, so that no share is ever 0:
 * `S(t) = Π (1 − d/(r + 1))`. Beside it Greenwood's sum, for the interval.
 */
export function survivalCurve(durations: readonly Duration[]): SurvivalStep[] {
  // At the same time those that ended come before those that were cut off: they were all at risk.
  const sorted = durations.toSorted((one, other) => one.ms - other.ms)
  const steps: SurvivalStep[] = []
  let [share, greenwood] = [1, 0]
  for (let from = 0; from < sorted.length; ) {
    const ms = sorted[from]?.ms ?? 0
    let [next, ended] = [from, 0]
    for (; sorted[next]?.ms === ms; next += 1) if (sorted[next]?.censored === false) ended += 1
    const atRisk = sorted.length - from + 1
    if (ended > 0) {
      share *= 1 - ended / atRisk
      greenwood += ended / (atRisk * (atRisk - ended))
      steps.push({ ms, share, greenwood })
    }
    from = next
  }
  return steps
}

interface SurvivalStep {
  readonly ms: number
  /** That takes longer than `ms`. */
  readonly share: number
  /** Σ d/(r(r−d)). */
  readonly greenwood: number
}

/**
 * The probability that the next one takes longer than `limitMs`.
 *
 * The interval is that of a Beta with this mean and the size of a sample without censoring that would be as sure:
 * `S(1−S)/Var` (Cutler and Ederer 1958).
 */
export function outlasting(durations: readonly Duration[], limitMs: number): Outlasting {
  const step = survivalCurve(durations).findLast(({ ms }) => ms <= limitMs)
  const n = durations.length
  const share = step?.share ?? n / (n + 1)
  // Less the one that was added.
  const nEff = step === undefined ? n : (1 - share) / (share * step.greenwood) - 1
  const [a, b] = [(nEff + 1) * share, (nEff + 1) * (1 - share)]
  return { probability: share, interval: [betaQuantile(0.1, a, b), betaQuantile(0.9, a, b)], n, nEff }
}

/** The shortest time that at most the share `p` outlasts; undefined when too few were seen to end. */
export function timeForAllBut(p: number, durations: readonly Duration[]): number | undefined {
  return survivalCurve(durations).find(({ share }) => share <= p + 1e-12)?.ms
}
