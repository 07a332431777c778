/** A rise of a failure rate, and where it began. */
export interface Rise {
  /** The first trial after the change. */
  readonly at: number
  readonly before: { readonly n: number; readonly failures: number; readonly rate: number }
  readonly after: { readonly n: number; readonly failures: number; readonly rate: number }
  /** ln of how much better two rates explain it than one. */
  readonly evidence: number
}

/**
 * Where the rate of failure rose, if it did: the split of the trials that two rates explain best, when they do so
 * e^`EVIDENCE_MIN` times better than one (Bernoulli likelihood ratio; Hinkley and Hinkley 1970).
 *
 * @param failed - Oldest first.
 */
export function riseOf(failed: readonly boolean[]): Rise | undefined {
  const n = failed.length
  const all = failed.reduce((sum, each) => sum + (each ? 1 : 0), 0)
  const asOne = logLikelihood(all, n)
  let [best, bestAt, bestBefore] = [EVIDENCE_MIN, -1, 0]
  for (let at = 0, before = 0; at < n; at += 1) {
    // The best split for a rise stands right before a failure.
    if (!failed[at]) continue
    const [left, right] = [at, n - at]
    const after = all - before
    if (left >= BEFORE_MIN && right >= AFTER_MIN && after / right > before / left) {
      const evidence = logLikelihood(before, left) + logLikelihood(after, right) - asOne
      if (evidence > best) [best, bestAt, bestBefore] = [evidence, at, before]
    }
    before += 1
  }
  if (bestAt < 0) return undefined
  const [left, right, after] = [bestAt, n - bestAt, all - bestBefore]
  return {
    at: bestAt,
    before: { n: left, failures: bestBefore, rate: bestBefore / left },
    after: { n: right, failures: after, rate: after / right },
    evidence: best,
  }
}

/**
 * How many times better two rates must explain what was seen, as a logarithm.
 *
 * Looked for at each failure of a module that always fails at the same rate, this is passed for the first time less
 * than once in two thousand missions, be the rate 1 % or 50 % (`test/insight/predictions.test.ts` counts).
 */
const EVIDENCE_MIN = 8.5
/** Two rates take a past and a present. */
const BEFORE_MIN = 10
const AFTER_MIN = 5

function logLikelihood(failures: number, n: number): number {
  if (failures === 0 || failures === n) return 0
  return failures * Math.log(failures / n) + (n - failures) * Math.log(1 - failures / n)
}
