import type { MissionId } from '../contracts/ids.ts'
import { addFaded, HALF_LIFE_MS, noSums, type Sums, weightAt } from './sums.ts'

/** One outcome in detail. */
export interface Outcome {
  readonly mid: MissionId
  /** Which of all outcomes it is, counted from 1. */
  readonly nth: number
  readonly atMs: number
  readonly fingerprint: string
  readonly success: boolean
  readonly durationMs: number
  /** It was cut off at its limit, and would have taken longer. */
  readonly timedOut: boolean
  readonly operatorMinutes: number
  readonly value?: number
  readonly cost?: number
}

/** What a kind's newest outcomes say about one goal; the same whenever it is asked, until another outcome comes. */
export interface Details {
  /** The outcomes with a similar goal, as of the newest outcome. */
  readonly goals: Sums
  readonly durations:
    | { readonly n: number; readonly p50Ms: number; readonly p90Ms: number; readonly meanMs: number }
    | undefined
  /** Standard deviation of the durations over their mean. */
  readonly variation: number | undefined
  readonly operatorMinutes: number | undefined
  /** Minutes of those an operator handled at all. */
  readonly handleMinutes: number | undefined
  readonly value: number | undefined
  readonly cost: number | undefined
  /** At most five missions, the most similar and newest first. */
  readonly missions: readonly MissionId[]
}

/**
 * The newest outcomes of one category by one module, with sums by goal over all of them.
 *
 * Kept in the order of their durations as well, and what was worked out for a goal is kept until another outcome
 * comes: all weights fade at the same pace, so neither quantiles nor means depend on when they are asked for.
 */
export class Recent {
  readonly byGoal = new Map<string, Sums>()
  /** Oldest first. */
  readonly #entries: Entry[] = []
  readonly #byDuration: Entry[] = []
  /** A number for each goal among the entries: looking up numbers is what makes a judgement cheap. */
  readonly #goals = new Map<string, number>()
  readonly #answers = new Map<string, Answer>()
  #version = 0
  #baseMs = 0
  #newestMs = 0

  get outcomes(): readonly Outcome[] {
    return this.#entries.map(({ outcome }) => outcome)
  }

  add(outcome: Outcome): void {
    this.#version += 1
    if (this.#entries.length === 0) this.#baseMs = outcome.atMs
    const entry = { outcome, weight: this.#weigh(outcome.atMs), goal: this.#goalOf(outcome.fingerprint) }
    this.#entries.push(entry)
    this.#byDuration.splice(this.#placeOf(outcome.durationMs), 0, entry)
    this.#newestMs = Math.max(this.#newestMs, outcome.atMs)
    if (entry.weight > WEIGHT_MAX) this.#weighAnew()
    if (this.#entries.length > RECENT_MAX) this.#dropOldest()
    if (this.#goals.size > GOALS_MAX) this.#numberAnew()
  }

  /** Lets go of those that came before the `nth` of all outcomes. */
  dropBefore(nth: number): void {
    while ((this.#entries[0]?.outcome.nth ?? Number.POSITIVE_INFINITY) < nth) {
      this.#version += 1
      this.#dropOldest()
    }
  }

  /** @param alike - By fingerprint, how alike the goals are to this one; another map whenever it has changed. */
  details(fingerprint: string, alike: ReadonlyMap<string, number>, nowMs: number): Details {
    // Something from the future counts like now, so it does not fade with the others.
    if (this.#newestMs > nowMs) {
      const asOfNow = this.#entries.map(({ outcome }) => weightAt(outcome.atMs, nowMs))
      const weightOf = new Map(this.#entries.map((entry, at) => [entry, asOfNow[at] ?? 0]))
      return this.#workOut(alike, this.#sharesOf(alike), nowMs, (entry) => weightOf.get(entry) ?? 0)
    }
    let answer = this.#answers.get(fingerprint)
    if (answer?.alike !== alike) {
      if (this.#answers.size >= ANSWERS_MAX) this.#answers.clear()
      answer = {
        alike,
        shares: this.#sharesOf(alike),
        numbered: this.#goals.size,
        version: -1,
        details: undefined,
      }
      this.#answers.set(fingerprint, answer)
    }
    if (answer.details === undefined || answer.version !== this.#version) {
      if (answer.numbered !== this.#goals.size) answer.shares = this.#sharesOf(alike)
      answer.numbered = this.#goals.size
      answer.details = this.#workOut(alike, answer.shares, this.#newestMs, relativeWeight)
      answer.version = this.#version
    }
    return answer.details
  }

  #workOut(
    alike: ReadonlyMap<string, number>,
    shares: Float64Array,
    atMs: number,
    weightOf: (entry: Entry) => number,
  ): Details {
    const sorted = this.#byDuration
    let similar = 0
    for (const { goal } of sorted) if (shares[goal] !== 0) similar += 1
    const chosen = similar >= SIMILAR_ENOUGH
    const weights = new Float64Array(sorted.length)
    let [n, total, time, minutes, handledTotal, handled] = [0, 0, 0, 0, 0, 0]
    let [valueTotal, values, costTotal, costs] = [0, 0, 0, 0]
    for (let at = 0; at < sorted.length; at += 1) {
      const entry = sorted[at] as Entry
      const weight = (chosen ? (shares[entry.goal] ?? 0) : 1) * weightOf(entry)
      if (weight === 0) continue
      weights[at] = weight
      const { durationMs, operatorMinutes, success, value, cost } = entry.outcome
      n += 1
      total += weight
      time += durationMs * weight
      minutes += operatorMinutes * weight
      if (operatorMinutes > 0) {
        handledTotal += weight
        handled += operatorMinutes * weight
      }
      if (success && value !== undefined) {
        valueTotal += weight
        values += value * weight
      }
      if (cost !== undefined) {
        costTotal += weight
        costs += cost * weight
      }
    }
    const meanMs = meanOf(time, total)
    return {
      goals: goalSums(atMs, this.byGoal, alike),
      durations: meanMs === undefined ? undefined : { n, ...quantiles(sorted, weights, total), meanMs },
      variation: n < 2 ? undefined : variation(sorted, weights, total, meanMs ?? 0),
      operatorMinutes: meanOf(minutes, total),
      handleMinutes: meanOf(handled, handledTotal),
      value: meanOf(values, valueTotal),
      cost: meanOf(costs, costTotal),
      missions: this.#examples(shares),
    }
  }

  /** The newest with a similar goal, then the newest of the others. */
  #examples(shares: Float64Array): MissionId[] {
    const [similar, others]: [MissionId[], MissionId[]] = [[], []]
    for (let at = this.#entries.length - 1; at >= 0 && similar.length < EXAMPLES_MAX; at -= 1) {
      const { goal, outcome } = this.#entries[at] as Entry
      const list = shares[goal] === 0 ? others : similar
      if (list.length < EXAMPLES_MAX) list.push(outcome.mid)
    }
    return [...similar, ...others].slice(0, EXAMPLES_MAX)
  }

  #goalOf(fingerprint: string): number {
    const known = this.#goals.get(fingerprint)
    if (known !== undefined) return known
    this.#goals.set(fingerprint, this.#goals.size)
    return this.#goals.size - 1
  }

  #sharesOf(alike: ReadonlyMap<string, number>): Float64Array {
    const shares = new Float64Array(this.#goals.size)
    for (const [fingerprint, goal] of this.#goals) shares[goal] = alike.get(fingerprint) ?? 0
    return shares
  }

  /** Goals that are no longer among the entries need no number. */
  #numberAnew(): void {
    this.#goals.clear()
    this.#answers.clear()
    for (const entry of this.#entries) entry.goal = this.#goalOf(entry.outcome.fingerprint)
  }

  #weigh(atMs: number): number {
    return 2 ** ((atMs - this.#baseMs) / HALF_LIFE_MS)
  }

  /** Weights are relative to a moment, and that must not be ages ago. */
  #weighAnew(): void {
    this.#baseMs = this.#newestMs
    for (const entry of this.#entries) entry.weight = this.#weigh(entry.outcome.atMs)
  }

  #dropOldest(): void {
    const oldest = this.#entries.shift()
    if (oldest === undefined) return
    let at = this.#placeOf(oldest.outcome.durationMs) - 1
    while (at > 0 && this.#byDuration[at] !== oldest) at -= 1
    this.#byDuration.splice(at, 1)
  }

  /** Behind all that took as long or less. */
  #placeOf(durationMs: number): number {
    let [low, high] = [0, this.#byDuration.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#byDuration[middle]?.outcome.durationMs ?? 0) <= durationMs) low = middle + 1
      else high = middle
    }
    return low
  }
}

interface Entry {
  readonly outcome: Outcome
  /** Relative to a moment all entries share. */
  weight: number
  goal: number
}

interface Answer {
  readonly alike: ReadonlyMap<string, number>
  /** By the number of a goal, how alike it is; as many goals as had a number then. */
  shares: Float64Array
  numbered: number
  version: number
  details: Details | undefined
}

function relativeWeight({ weight }: Entry): number {
  return weight
}

function meanOf(sum: number, total: number): number | undefined {
  return total > 0 ? sum / total : undefined
}

/** The smallest durations that half and nine tenths of the weight do not exceed. */
function quantiles(
  sorted: readonly Entry[],
  weights: Float64Array,
  total: number,
): { p50Ms: number; p90Ms: number } {
  let [reached, p50Ms] = [0, -1]
  let last = 0
  for (let at = 0; at < sorted.length; at += 1) {
    const weight = weights[at] ?? 0
    if (weight === 0) continue
    reached += weight
    last = sorted[at]?.outcome.durationMs ?? 0
    if (p50Ms < 0 && reached >= 0.5 * total * NEARLY) p50Ms = last
    if (reached >= 0.9 * total * NEARLY) break
  }
  return { p50Ms: p50Ms < 0 ? last : p50Ms, p90Ms: last }
}

function variation(
  sorted: readonly Entry[],
  weights: Float64Array,
  total: number,
  mean: number,
): number | undefined {
  if (!(mean > 0)) return undefined
  let squares = 0
  for (let at = 0; at < sorted.length; at += 1) {
    const gap = (sorted[at]?.outcome.durationMs ?? 0) - mean
    squares += (weights[at] ?? 0) * gap * gap
  }
  return Math.sqrt(squares / total) / mean
}

function goalSums(atMs: number, byGoal: ReadonlyMap<string, Sums>, alike: ReadonlyMap<string, number>): Sums {
  const total = { ...noSums(), atMs }
  for (const [fingerprint, share] of alike) {
    const sums = byGoal.get(fingerprint)
    if (sums !== undefined) addFaded(total, sums, share)
  }
  return total
}

/** A P90 of 200 durations is within four ranks in a hundred of the true one; more would only cost time per judgement. */
const RECENT_MAX = 200
/** Fewer similar outcomes than this say less about durations than all of the kind do. */
const SIMILAR_ENOUGH = 5
/** Enough to look at, little enough to store with every mission. */
const EXAMPLES_MAX = 5
/** Missions that are judged at the same time ask about a few goals again and again. */
const ANSWERS_MAX = 64
/** Goals that are numbered: those of the entries, and as many again before they are numbered anew. */
const GOALS_MAX = 2 * RECENT_MAX
/** Thirty half-lives. */
const WEIGHT_MAX = 2 ** 30
/** Sums of the same weights in another order differ by less. */
const NEARLY = 1 - 1e-12
