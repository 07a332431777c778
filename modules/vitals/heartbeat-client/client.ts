import type { HealthAnswer, ModuleContext } from 'aeon-nexus/module'
import { type Clock, Pulse } from './pulse.ts'
import { reasonOf, send } from './send.ts'
import { describeTarget, type Settings } from './settings.ts'

/** One may be lost, two may be bad luck. */
const FAILURES_MAX = 3

/** How one beat went. */
export interface Beat {
  readonly seq: number
  /** RFC 3339. */
  readonly at: string
  readonly target: string
  readonly ok: boolean
  readonly duration_ms: number
  readonly error?: string
}

/** What the next generation goes on with. */
export interface Legacy {
  readonly seq: number
  readonly beats: number
  readonly failures: number
  readonly skipped: number
  readonly last: Beat | null
}

/** Beats until it is stopped, one beat at a time. */
export class HeartbeatClient {
  readonly #ctx: ModuleContext
  readonly #clock: Clock
  readonly #pulse: Pulse
  readonly #startedMs: number
  readonly #meters: ReturnType<typeof metersOf>
  #settings: Settings
  #counts: Legacy
  #failuresInARow = 0
  #sending: Promise<Beat> | undefined

  constructor(ctx: ModuleContext, clock: Clock) {
    this.#ctx = ctx
    this.#clock = clock
    this.#settings = ctx.config
    this.#startedMs = clock.elapsed()
    this.#meters = metersOf(ctx)
    this.#counts = inheritedFrom(ctx.inherited)
    const { last } = this.#counts
    const beat = (): void => {
      // Its deadline is at most the interval, so only a beat asked for by hand can still be on its way: it will do.
      if (this.#sending === undefined)
        void this.#send() // never rejects
      else this.#counts = { ...this.#counts, skipped: this.#counts.skipped + 1 }
    }
    const agoMs = last === null ? undefined : clock.now() - Date.parse(last.at)
    this.#pulse = new Pulse(clock, { intervalMs: this.#settings.interval_ms, beat }, agoMs)
  }

  /** One beat now, after the one on its way. @throws Error when it does not get through. */
  async beatNow(): Promise<Beat> {
    while (this.#sending !== undefined) await this.#sending
    const beat = await this.#send()
    if (!beat.ok) throw new Error(`the beat did not get through to ${beat.target}: ${beat.error}`)
    return beat
  }

  configure(settings: Settings): void {
    // What failed before says nothing about another target.
    if (describeTarget(settings) !== describeTarget(this.#settings)) this.#failuresInARow = 0
    this.#settings = settings
    this.#pulse.changeInterval(settings.interval_ms)
  }

  health(): HealthAnswer {
    if (this.#failuresInARow < FAILURES_MAX) return { status: 'healthy' }
    const { last } = this.#counts
    const reason = `the last ${this.#failuresInARow} beats did not get through to ${last?.target}: ${last?.error}`
    return { status: 'degraded', reason }
  }

  state(): object {
    const { id: module, instance } = this.#ctx
    const { seq, beats, failures, skipped, last } = this.#counts
    const dueInMs = this.#pulse.dueInMs
    return {
      module,
      instance,
      target: describeTarget(this.#settings),
      interval_ms: this.#settings.interval_ms,
      seq,
      beats,
      failures,
      failures_in_a_row: this.#failuresInARow,
      skipped,
      last,
      next_at: dueInMs === undefined ? null : new Date(this.#clock.now() + dueInMs).toISOString(),
      next_in_ms: dueInMs === undefined ? null : Math.round(dueInMs),
      uptime_seconds: this.#uptimeSeconds(),
    }
  }

  snapshot(): Legacy {
    return this.#counts
  }

  async stop(): Promise<void> {
    this.#pulse.stop()
    await this.#sending
  }

  #send(): Promise<Beat> {
    const sending = this.#attempt().finally(() => {
      if (this.#sending === sending) this.#sending = undefined
    })
    this.#sending = sending
    return sending
  }

  async #attempt(): Promise<Beat> {
    const settings = this.#settings
    const { id: module, instance, log, signal } = this.#ctx
    const seq = this.#counts.seq + 1
    const at = new Date(this.#clock.now()).toISOString()
    const startedMs = this.#clock.elapsed()
    this.#counts = { ...this.#counts, seq }
    const deadlineMs = Math.min(settings.deadline_ms, settings.interval_ms)
    const deadline = new AbortController()
    const timer = this.#clock.after(deadlineMs, () => {
      deadline.abort(new Error(`it did not get through within ${deadlineMs} ms`))
    })
    let error: string | undefined
    try {
      const body = { module, instance, seq, ts: at, uptime_seconds: this.#uptimeSeconds() }
      await send(body, settings, log, AbortSignal.any([signal, deadline.signal]))
    } catch (thrown) {
      error = reasonOf(thrown)
    } finally {
      timer.cancel()
    }
    const duration_ms = Math.round(this.#clock.elapsed() - startedMs)
    const target = describeTarget(settings)
    const beat = {
      seq,
      at,
      target,
      ok: error === undefined,
      duration_ms,
      ...(error !== undefined && { error }),
    }
    // One that was cut by the stop of this instance is nobody's failure.
    if (!signal.aborted) this.#note(beat)
    return beat
  }

  #note(beat: Beat): void {
    const { beats, failures } = this.#counts
    this.#counts = {
      ...this.#counts,
      beats: beats + 1,
      failures: failures + (beat.ok ? 0 : 1),
      last: beat,
    }
    // A beat that left for the former target says nothing about this one.
    if (beat.target === describeTarget(this.#settings)) {
      const recovered = beat.ok && this.#failuresInARow >= FAILURES_MAX
      this.#failuresInARow = beat.ok ? 0 : this.#failuresInARow + 1
      if (recovered) this.#ctx.log.info('beats get through again', { target: beat.target })
      else if (this.#failuresInARow === FAILURES_MAX) {
        this.#ctx.log.warn('beats do not get through', { target: beat.target, error: beat.error })
      }
    }
    this.#meters.beats.inc()
    if (beat.ok) this.#meters.lastOk.set(this.#clock.now() / 1_000)
    else this.#meters.failures.inc()
    this.#meters.inARow.set(this.#failuresInARow)
  }

  #uptimeSeconds(): number {
    return Math.round(this.#clock.elapsed() - this.#startedMs) / 1_000
  }
}

function metersOf({ metrics }: ModuleContext) {
  return {
    beats: metrics.counter('heartbeat_beats_total', 'Beats that were sent, failed ones included.'),
    failures: metrics.counter('heartbeat_failures_total', 'Beats that did not get through.'),
    inARow: metrics.gauge('heartbeat_failures_in_a_row', 'Failed beats since the last good one.'),
    lastOk: metrics.gauge(
      'heartbeat_last_success_timestamp_seconds',
      'When the last beat got through, in seconds since 1970.',
    ),
  }
}

function inheritedFrom(legacy: unknown): Legacy {
  const given = (legacy ?? {}) as Partial<Legacy>
  const number = (value: unknown): number => (Number.isSafeInteger(value) ? (value as number) : 0)
  return {
    seq: number(given.seq),
    beats: number(given.beats),
    failures: number(given.failures),
    skipped: number(given.skipped),
    last: typeof given.last?.at === 'string' && !Number.isNaN(Date.parse(given.last.at)) ? given.last : null,
  }
}
