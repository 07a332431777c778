import { CALM, levelAt, levelOfRun, stepCusum, usualRate } from '../../daemon/insight/cusum.ts'
import type { OmenLevel } from '../../daemon/insight/omen-levels.ts'
import { type Shift, stepShift, UNKNOWN_SHIFT } from '../../daemon/insight/shift.ts'
import { type Chance, seededChance } from '../../daemon/kit/chance.ts'

const MISSIONS_A_DAY = 1_000
/** Of a daemon that runs so many: the history halves in thirty days. */
const FADING = 2 ** (-1 / 30_000)

/** One way of failing and the history of its module, as the daemon keeps both. */
class Trials {
  #state = CALM
  #failures = 0
  #trials = 0

  /** @returns The level that a failure reached. */
  next(failed: boolean): OmenLevel {
    const usual = usualRate(this.#failures, this.#trials)
    this.#state = stepCusum(this.#state, failed, usual)
    this.#failures = this.#failures * FADING + (failed ? 1 : 0)
    this.#trials = this.#trials * FADING + 1
    return failed ? levelAt(this.#state) : 'ignore'
  }

  calm(): void {
    this.#state = CALM
  }
}

export interface Alarms {
  readonly warns: number
  readonly intervenes: number
  readonly locks: number
  /** What locking at the thirteenth failure ever, counted anew after each lock, would have come to. */
  readonly lifetimeLocks: number
  /** Share of the days, of a thousand missions each, that had a warning, and the most that a day had. */
  readonly warnedDays: number
  readonly warnsADayMax: number
}

/** How often a module that fails at a steady rate is taken for one that got worse, in so many missions. */
export function falseAlarms(failing: number, missions: number, seed: number): Alarms {
  const chance = seededChance(seed)
  const trials = new Trials()
  const alarms = { warns: 0, intervenes: 0, locks: 0, lifetimeLocks: 0 }
  const days = new Uint16Array(Math.ceil(missions / MISSIONS_A_DAY))
  let [before, ever]: [OmenLevel, number] = ['ignore', 0]
  for (let n = 0; n < missions; n += 1) {
    const failed = chance.next() < failing
    const level = trials.next(failed)
    if (!failed) continue
    ever += 1
    if (ever % 13 === 0) alarms.lifetimeLocks += 1
    if (level === 'warn' && before === 'ignore') {
      alarms.warns += 1
      const day = Math.floor(n / MISSIONS_A_DAY)
      days[day] = (days[day] ?? 0) + 1
    }
    if (level === 'intervene' && before !== 'intervene') alarms.intervenes += 1
    if (level === 'lock') {
      alarms.locks += 1
      trials.calm()
    }
    before = level === 'lock' ? 'ignore' : level
  }
  const warned = days.reduce((sum, warns) => sum + Math.min(1, warns), 0)
  const warnsADayMax = days.reduce((most, warns) => Math.max(most, warns), 0)
  return { ...alarms, warnedDays: warned / days.length, warnsADayMax }
}

export interface Delay {
  /** Median and ninetieth percentile of the missions from the change to each level; null where most never came. */
  readonly warn: Spread
  readonly intervene: Spread
  readonly lock: Spread
  /** Share of the runs that were locked within the missions looked at. */
  readonly locked: number
}
type Spread = readonly [median: number | null, p90: number | null]

/** How long a module that was well for `before` missions fails at another rate until it is locked. */
export function delays(
  failing: number,
  {
    before,
    runs = 400,
    missions = 2_000,
    usual = 0.01,
  }: { before: number; runs?: number; missions?: number; usual?: number },
  seed: number,
): Delay {
  const chance = seededChance(seed)
  const found: Record<'warn' | 'intervene' | 'lock', number[]> = { warn: [], intervene: [], lock: [] }
  for (let run = 0; run < runs; run += 1) {
    const first = oneRun(chance, failing, before, missions, usual)
    for (const level of ['warn', 'intervene', 'lock'] as const) found[level].push(first[level])
  }
  const spread = (values: number[]): Spread => [quantile(values, 0.5), quantile(values, 0.9)]
  const { warn, intervene, lock } = found
  const locked = lock.filter(Number.isFinite).length / runs
  return { warn: spread(warn), intervene: spread(intervene), lock: spread(lock), locked }
}

function oneRun(chance: Chance, failing: number, before: number, missions: number, usual: number) {
  const trials = new Trials()
  for (let n = 0; n < before; n += 1) trials.next(chance.next() < usual)
  trials.calm()
  const never = Number.POSITIVE_INFINITY
  const first = { warn: never, intervene: never, lock: never }
  for (let n = 1; n <= missions && first.lock === never; n += 1) {
    const level = trials.next(chance.next() < failing)
    if (level === 'ignore') continue
    first.warn = Math.min(first.warn, n)
    if (level !== 'warn') first.intervene = Math.min(first.intervene, n)
    if (level === 'lock') first.lock = n
  }
  return first
}

export interface ShiftAlarms {
  readonly warns: number
  readonly intervenes: number
  readonly locks: number
}

/** Omens of an action whose minutes scatter without ever changing, over so many minutes. */
export function shiftAlarms(scatter: number, minutes: number, seed: number): ShiftAlarms {
  const noise = lognormal(scatter, seed)
  const alarms = { warns: 0, intervenes: 0, locks: 0 }
  let shift: Shift = UNKNOWN_SHIFT
  for (let n = 0; n < minutes; n += 1) {
    shift = stepShift(shift, 100 * noise())
    if (shift.run === 3) alarms.warns += 1
    if (shift.run === 7) alarms.intervenes += 1
    if (shift.run === 13) {
      alarms.locks += 1
      shift = UNKNOWN_SHIFT
    }
  }
  return alarms
}

/** Minutes from a change of so many times until each level, the median of many; null where most never came. */
export function shiftDelays(
  scatter: number,
  times: number,
  seed: number,
): Record<'warn' | 'intervene' | 'lock', number | null> {
  const noise = lognormal(scatter, seed)
  const found: Record<'warn' | 'intervene' | 'lock', number[]> = { warn: [], intervene: [], lock: [] }
  for (let run = 0; run < 100; run += 1) {
    let shift: Shift = UNKNOWN_SHIFT
    for (let n = 0; n < 60; n += 1) shift = stepShift(shift, 100 * noise())
    const first = {
      warn: Number.POSITIVE_INFINITY,
      intervene: Number.POSITIVE_INFINITY,
      lock: Number.POSITIVE_INFINITY,
    }
    for (let n = 1; n <= 120 && !Number.isFinite(first.lock); n += 1) {
      shift = stepShift(shift, 100 * times * noise())
      const level = levelOfRun(shift.run)
      if (level !== 'ignore') first[level] = Math.min(first[level], n)
    }
    for (const level of ['warn', 'intervene', 'lock'] as const) found[level].push(first[level])
  }
  const { warn, intervene, lock } = found
  return { warn: quantile(warn, 0.5), intervene: quantile(intervene, 0.5), lock: quantile(lock, 0.5) }
}

function lognormal(scatter: number, seed: number): () => number {
  const chance = seededChance(seed)
  return () => {
    const radius = Math.sqrt(-2 * Math.log(1 - chance.next()))
    return Math.exp(scatter * radius * Math.cos(2 * Math.PI * chance.next()))
  }
}

function quantile(values: readonly number[], p: number): number | null {
  const sorted = values.toSorted((one, other) => one - other)
  const value = sorted[Math.ceil(p * sorted.length) - 1] ?? Number.POSITIVE_INFINITY
  return Number.isFinite(value) ? value : null
}
