/** The value below which the share `p` of all values lies; NaN of none. */
export function quantile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Three digits are all that such a measurement is worth. */
export function round(value: number): number {
  return Number(value.toPrecision(3))
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Asks again every `stepMs` until the answer is something. @throws Error after `withinMs`. */
export async function until<T>(
  ask: () => Promise<T | undefined> | T | undefined,
  withinMs = 30_000,
  stepMs = 2,
): Promise<T> {
  const startedMs = performance.now()
  for (;;) {
    const answer = await Promise.resolve(ask()).catch(() => undefined)
    if (answer !== undefined) return answer
    if (performance.now() - startedMs > withinMs) throw new Error(`not within ${withinMs} ms`)
    await sleep(stepMs)
  }
}
