import { betaQuantile } from './beta.ts'
import type { Reading, Resource } from './port.ts'
import { type Found, keyOf, type PredictionSubject, stated } from './prediction.ts'
import { type Trend, trendOf } from './trend.ts'

/**
 * What is used of what may run out: the medians of minutes over the last six hours, in memory only.
 *
 * It measures nothing and wakes up nobody: it is told, and looks at one series each time it is told.
 */
export class Gauges {
  readonly #series = new Map<string, Series>()
  /** Keys, those longest not looked at first. */
  readonly #turns: string[] = []

  /** Takes what was read at one time, all of it. */
  take(readings: readonly Reading[], nowMs: number): void {
    for (const reading of readings) this.#take(reading, nowMs)
  }

  /** What one of them is heading for: the one whose turn it is. Undefined when it heads for nothing. */
  lookAtNext(nowMs: number): Found | undefined {
    const [key] = this.#turns
    const series = key === undefined ? undefined : this.#series.get(key)
    if (key === undefined || series === undefined) return undefined
    if (Math.abs(nowMs - series.lookedMs) < LOOK_EVERY_MS) return undefined
    this.#turns.shift()
    series.lookedMs = nowMs
    if (nowMs - series.atMs > FORGOTTEN_MS) {
      this.#series.delete(key)
      return undefined
    }
    this.#turns.push(key)
    series.found = exhaustion(series, nowMs)
    return series.found
  }

  /** What was found when each was looked at last. */
  all(): Found[] {
    return [...this.#series.values()].flatMap(({ found }) => found ?? [])
  }

  /** Whether it has run out; undefined when nobody has looked for a while. */
  isExhausted(key: string, nowMs: number): boolean | undefined {
    const series = this.#series.get(key)
    if (series === undefined || nowMs - series.atMs > FORGOTTEN_MS) return undefined
    return series.used >= EXHAUSTED_AT * series.limit
  }

  #take({ moduleId, resource, used, limit }: Reading, nowMs: number): void {
    if (!(limit > 0) || !Number.isFinite(used)) return
    const subject = { ...(moduleId !== undefined && { module_id: moduleId }), resource }
    const key = keyOf('exhaustion', subject)
    let series = this.#series.get(key)
    if (series === undefined) {
      if (this.#series.size >= SERIES_MAX) return
      series = {
        subject,
        limit,
        used,
        atMs: nowMs,
        minute: minuteOf(nowMs),
        lookedMs: nowMs,
        within: [],
        minutes: [],
        found: undefined,
      }
      this.#series.set(key, series)
      this.#turns.push(key)
    }
    const minute = minuteOf(nowMs)
    if (minute !== series.minute) {
      series.minutes.push(medianOf(series.within))
      // A hole in the series is a new series: its steps would not be minutes.
      if (Math.abs(minute - series.minute) > HOLE_MINUTES_MAX) series.minutes.length = 0
      if (series.minutes.length > MINUTES_MAX) series.minutes.shift()
      series.within.length = 0
      series.minute = minute
    }
    if (series.within.length < WITHIN_MAX) series.within.push(used)
    Object.assign(series, { used, limit, atMs: nowMs })
  }
}

interface Series {
  readonly subject: PredictionSubject
  limit: number
  used: number
  atMs: number
  minute: number
  lookedMs: number
  /** The readings of this minute. */
  readonly within: number[]
  /** Medians of the minutes before, oldest first. */
  readonly minutes: number[]
  found: Found | undefined
}

/** That it is used up within a day: nothing without a trend, or when the slow end of the trend does not rise. */
export function exhaustion(
  { subject, limit, minutes }: Pick<Series, 'subject' | 'limit' | 'minutes'>,
  nowMs: number,
): Found | undefined {
  const trend = trendOf(minutes)
  if (trend === undefined || trend.low <= 0) return undefined
  const now = trend.intercept + trend.slope * (minutes.length - 1)
  const left = EXHAUSTED_AT * limit - now
  const hoursAt = (slope: number): number => Math.max(0, left / slope / 60)
  const share = shareAbove(trend, left / HORIZON_MINUTES)
  const { nEff } = trend
  const [a, b] = [share * nEff + 0.5, (1 - share) * nEff + 0.5]
  const tenth = (hours: number): number => Math.round(hours * 10) / 10
  return stated(nowMs, {
    kind: 'exhaustion',
    subject,
    statement: `${NAMES[subject.resource ?? 'memory']} of ${subject.module_id ?? 'the daemon'} reaches ${100 * EXHAUSTED_AT} % of its limit within 24 hours`,
    probability: a / (a + b),
    interval: [betaQuantile(0.1, a, b), betaQuantile(0.9, a, b)],
    n: minutes.length,
    n_eff: nEff,
    horizon: '24 h',
    evidence: [],
    eta_hours: {
      low: tenth(hoursAt(trend.high)),
      likely: tenth(hoursAt(trend.slope)),
      high: tenth(hoursAt(trend.low)),
    },
    lastsMs: HORIZON_MINUTES * 60_000,
    about: { limit },
  })
}

const NAMES: Readonly<Record<Resource, string>> = {
  memory: 'the memory',
  disk: 'the disk',
  descriptors: 'the number of open descriptors',
  queue: 'the queue',
}

/** The share of all pairwise slopes that are at least this steep. */
function shareAbove({ slopes }: Trend, wanted: number): number {
  const first = slopes.findIndex((slope) => slope >= wanted)
  return first < 0 ? 0 : (slopes.length - first) / slopes.length
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = (sorted.length - 1) / 2
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2
}

function minuteOf(atMs: number): number {
  return Math.floor(atMs / 60_000)
}

/** What a thing is called full at: the last part is gone before anybody measures it. */
const EXHAUSTED_AT = 0.95
const HORIZON_MINUTES = 24 * 60
/** Six hours: longer ones mix day and night. */
const MINUTES_MAX = 360
const HOLE_MINUTES_MAX = 5
const WITHIN_MAX = 60
/** All pairs of 360 values take some milliseconds, and a few minutes more change little. */
const LOOK_EVERY_MS = 5 * 60_000
const FORGOTTEN_MS = 10 * 60_000
/** A thousand modules, 360 numbers each: 3 MB. */
const SERIES_MAX = 1_100
