import type { Clock, Timer } from '../kit/clock.ts'
import { judgePulse, type PulseLimits } from './heartbeat.ts'

/** One whose heartbeats are watched. */
export interface Patient {
  readonly limits: PulseLimits
  suspect(missingMs: number): void
  recovered(): void
  hung(missingMs: number): void
}

interface Chart {
  /** Of the last heartbeat; of the end of its rest, while it rests. */
  heardMs: number
  suspected: boolean
}

/**
 * Watches the heartbeats of all instances with one timer, which is set for the first of them that would be missed.
 *
 * A look that comes late shows how long the daemon itself (its loop, or the whole machine) stood still. Heartbeats of
 * that time lie unread in the pipes, so it counts for nobody; and nobody is judged before the pipes had another turn.
 */
export class PulseWatch {
  readonly #clock: Clock
  readonly #charts = new Map<Patient, Chart>()
  #timer: Timer | undefined
  #dueMs = Number.POSITIVE_INFINITY
  /** The look before found somebody silent: those who still are, are. */
  #isSecondLook = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Watches until the returned function is called. */
  admit(patient: Patient): () => void {
    const chart = { heardMs: this.#clock.elapsed(), suspected: false }
    this.#charts.set(patient, chart)
    this.#expect(patient, chart)
    return () => {
      this.#charts.delete(patient)
      if (this.#charts.size === 0) this.#rest()
    }
  }

  /** A heartbeat came. @param restsMs - The next one may take so long: nothing goes on there. */
  heard(patient: Patient, restsMs = 0): void {
    const chart = this.#charts.get(patient)
    if (chart === undefined) return
    const nowMs = this.#clock.elapsed()
    chart.heardMs = nowMs
    this.#judge(patient, chart)
    chart.heardMs = nowMs + restsMs
    // One that was to be killed next is to be suspected next.
    this.#expect(patient, chart)
  }

  /** It was asked something: whoever rested does not any more. */
  asked(patient: Patient): void {
    const chart = this.#charts.get(patient)
    const nowMs = this.#clock.elapsed()
    if (chart === undefined || chart.heardMs <= nowMs) return
    chart.heardMs = nowMs
    this.#expect(patient, chart)
  }

  #rest(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#dueMs = Number.POSITIVE_INFINITY
  }

  /** Heartbeats put the look off, but the timer is not moved for each: it finds out when it rings. */
  #expect({ limits }: Patient, { heardMs, suspected }: Chart): void {
    const dueMs = heardMs + (suspected ? limits.killMs : limits.suspectMs) + BEYOND_MS
    if (dueMs < this.#dueMs) this.#lookAt(dueMs)
  }

  #lookAt(dueMs: number): void {
    this.#timer?.cancel()
    this.#dueMs = dueMs
    this.#timer = this.#clock.after(Math.max(0, dueMs - this.#clock.elapsed()), () => this.#look())
  }

  #look(): void {
    const nowMs = this.#clock.elapsed()
    const lateMs = Math.max(0, nowMs - this.#dueMs)
    for (const chart of this.#charts.values()) {
      chart.heardMs = Math.max(chart.heardMs, Math.min(nowMs, chart.heardMs + lateMs))
    }
    const isSecond = this.#isSecondLook
    this.#rest()
    this.#isSecondLook =
      !isSecond && [...this.#charts].some(([patient, chart]) => this.#isNews(patient, chart))
    if (this.#isSecondLook) {
      this.#lookAt(nowMs + TURN_MS)
      return
    }
    if (isSecond) for (const [patient, chart] of [...this.#charts]) this.#judge(patient, chart)
    for (const [patient, chart] of this.#charts) this.#expect(patient, chart)
  }

  #isNews({ limits }: Patient, { heardMs, suspected }: Chart): boolean {
    return judgePulse(this.#clock.elapsed() - heardMs, suspected, limits) !== 'well'
  }

  #judge(patient: Patient, chart: Chart): void {
    const missingMs = this.#clock.elapsed() - chart.heardMs
    const verdict = judgePulse(missingMs, chart.suspected, patient.limits)
    switch (verdict) {
      case 'well':
        break
      case 'suspect':
        chart.suspected = true
        patient.suspect(Math.ceil(missingMs))
        break
      case 'recovered':
        chart.suspected = false
        patient.recovered()
        break
      case 'hung':
        this.#charts.delete(patient)
        patient.hung(Math.ceil(missingMs))
    }
  }
}

/** A limit is passed only beyond it. */
const BEYOND_MS = 1
/** Long enough for the loop to read what has come, and to be told from a timer that rings at once. */
const TURN_MS = 10
