export interface Trend {
  readonly direction: 'rising' | 'falling' | 'steady'
  readonly per_hour: number
  /** Share of the variation that the line explains, 0..1. */
  readonly r2: number
  readonly samples: number
  readonly over_minutes: number
}

/** Fewer say nothing about a direction. */
const SAMPLES_MIN = 12
/** A line that explains less than this is drawn through noise. */
const R2_MIN = 0.5
/** A change below this share of the mean is none worth a word. */
const CHANGE_MIN = 0.05

/** The straight line through samples, by least squares; undefined when they are too few. */
export function trendOf(
  points: readonly { readonly ts: number; readonly value: number }[],
): Trend | undefined {
  const first = points[0]
  const last = points.at(-1)
  if (first === undefined || last === undefined || points.length < SAMPLES_MIN || last.ts <= first.ts)
    return undefined
  const meanT = mean(points.map(({ ts }) => ts))
  const meanV = mean(points.map(({ value }) => value))
  let tt = 0
  let tv = 0
  let vv = 0
  for (const { ts, value } of points) {
    tt += (ts - meanT) ** 2
    tv += (ts - meanT) * (value - meanV)
    vv += (value - meanV) ** 2
  }
  const slope = tv / tt
  const r2 = vv === 0 ? 0 : (tv * tv) / (tt * vv)
  const seconds = last.ts - first.ts
  const moved = Math.abs(slope * seconds) >= CHANGE_MIN * Math.abs(meanV) && r2 >= R2_MIN
  return {
    direction: !moved ? 'steady' : slope > 0 ? 'rising' : 'falling',
    per_hour: slope * 3_600,
    r2: Math.round(r2 * 100) / 100,
    samples: points.length,
    over_minutes: Math.round(seconds / 6) / 10,
  }
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
