import type { Clock, Timer } from '../kit/clock.ts'
import { judgePulse, type PulseLimits } from './heartbeat.ts'

/** One whose heartbeats are watched. */
export interface Patient {
  readonly limits: PulseLimits
  suspect(missingMs: number): void
  recovered(): void
  hung(missingMs: number): void
}

/**
 * Looks at the heartbeats of all instances with one timer, which runs only while there are instances.
 *
 * The look that comes late shows how long the daemon itself (its loop, or the whole machine) stood still. Heartbeats
 * of that time lie unread in the pipes, so it counts for nobody.
 */
export class PulseWatch {
  readonly #clock: Clock
  readonly #charts = new Map<Patient, { heardMs: number; suspected: boolean }>()
  #timer: Timer | undefined
  #dueMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Watches until the returned function is called. */
  admit(patient: Patient): () => void {
    this.#charts.set(patient, { heardMs: this.#clock.elapsed(), suspected: false })
    this.#schedule()
    return () => {
      this.#charts.delete(patient)
      if (this.#charts.size === 0) this.#rest()
    }
  }

  /** A heartbeat came. */
  heard(patient: Patient): void {
    const chart = this.#charts.get(patient)
    if (chart === undefined) return
    chart.heardMs = this.#clock.elapsed()
    this.#judge(patient, chart)
  }

  #schedule(): void {
    const waitMs = this.#everyMs()
    const dueMs = this.#clock.elapsed() + waitMs
    // A newcomer may ask for an earlier look, never for a later one.
    if (this.#timer !== undefined && dueMs >= this.#dueMs) return
    this.#timer?.cancel()
    this.#dueMs = dueMs
    this.#timer = this.#clock.after(waitMs, () => this.#look())
  }

  #rest(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #look(): void {
    this.#timer = undefined
    const lateMs = Math.max(0, this.#clock.elapsed() - this.#dueMs)
    for (const [patient, chart] of this.#charts) {
      chart.heardMs = Math.min(this.#clock.elapsed(), chart.heardMs + lateMs)
      this.#judge(patient, chart)
    }
    if (this.#charts.size > 0) this.#schedule()
  }

  #judge(patient: Patient, chart: { heardMs: number; suspected: boolean }): void {
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

  /** A quarter of the shortest patience, so a verdict is at most that late. */
  #everyMs(): number {
    const suspectMs = [...this.#charts.keys()].map((patient) => patient.limits.suspectMs)
    return Math.min(LOOK_MS_MAX, Math.max(LOOK_MS_MIN, Math.min(...suspectMs) / 4))
  }
}

const LOOK_MS_MAX = 250
const LOOK_MS_MIN = 10
