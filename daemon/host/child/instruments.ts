import type { ModuleMetrics } from '../../contracts/module.ts'
import type { MetricsParams } from '../../contracts/wire.ts'
import type { Clock, Timer } from '../../kit/clock.ts'

type Kind = MetricsParams['samples'][number]['kind']

/** `ctx.metrics`: remembers what changed and says it once a second, so counting costs a module nothing. */
export class Instruments implements ModuleMetrics {
  readonly #clock: Clock
  readonly #say: (params: MetricsParams) => void
  readonly #dirty = new Map<string, { kind: Kind; name: string; help: string; values: number[] }>()
  #due: Timer | undefined

  constructor(clock: Clock, say: (params: MetricsParams) => void) {
    this.#clock = clock
    this.#say = say
  }

  counter(name: string, help: string): { inc(by?: number): void } {
    return { inc: (by = 1) => this.#note('counter', name, help, by) }
  }

  gauge(name: string, help: string): { set(value: number): void } {
    return { set: (value) => this.#note('gauge', name, help, value) }
  }

  histogram(name: string, help: string): { observe(value: number): void } {
    return { observe: (value) => this.#note('histogram', name, help, value) }
  }

  /** Says now what has changed. */
  flush(): void {
    this.#due?.cancel()
    this.#due = undefined
    if (this.#dirty.size > 0) this.#say({ samples: [...this.#dirty.values()] })
    this.#dirty.clear()
  }

  #note(kind: Kind, name: string, help: string, value: number): void {
    if (!Number.isFinite(value)) return
    this.#due ??= this.#clock.after(EVERY_MS, () => this.flush())
    const sample = this.#dirty.get(name)
    if (sample === undefined) {
      if (this.#dirty.size < NAMES_MAX) this.#dirty.set(name, { kind, name, help, values: [value] })
    } else if (kind === 'counter') sample.values[0] = (sample.values[0] ?? 0) + value
    else if (kind === 'gauge') sample.values[0] = value
    else if (sample.values.length < OBSERVATIONS_MAX) sample.values.push(value)
  }
}

/** Nobody scrapes more often. */
const EVERY_MS = 1_000
/** A name for each value would be a label in disguise. */
const NAMES_MAX = 200
/** The shape of a distribution is known long before; more would make a long line. */
const OBSERVATIONS_MAX = 1_000
