import type { ModuleMetrics } from '../../contracts/module.ts'
import type { MetricsParams } from '../../contracts/wire.ts'
import type { Clock } from '../../kit/clock.ts'

type Kind = MetricsParams['samples'][number]['kind']

/** `ctx.metrics`: remembers what changed and says it once a second, so counting costs a module nothing. */
export function createInstruments(clock: Clock, say: (params: MetricsParams) => void): ModuleMetrics {
  const dirty = new Map<string, { kind: Kind; name: string; help: string; values: number[] }>()

  const flush = (): void => {
    say({ samples: [...dirty.values()] })
    dirty.clear()
  }
  const note = (kind: Kind, name: string, help: string, value: number): void => {
    if (!Number.isFinite(value)) return
    if (dirty.size === 0) clock.after(EVERY_MS, flush)
    const sample = dirty.get(name)
    if (sample === undefined) {
      if (dirty.size < NAMES_MAX) dirty.set(name, { kind, name, help, values: [value] })
    } else if (kind === 'counter') sample.values[0] = (sample.values[0] ?? 0) + value
    else if (kind === 'gauge') sample.values[0] = value
    else if (sample.values.length < OBSERVATIONS_MAX) sample.values.push(value)
  }
  return {
    counter: (name, help) => ({ inc: (by = 1) => note('counter', name, help, by) }),
    gauge: (name, help) => ({ set: (value) => note('gauge', name, help, value) }),
    histogram: (name, help) => ({ observe: (value) => note('histogram', name, help, value) }),
  }
}

/** Nobody scrapes more often. */
const EVERY_MS = 1_000
/** A name for each value would be a label in disguise. */
const NAMES_MAX = 200
/** The shape of a distribution is known long before; more would make a long line. */
const OBSERVATIONS_MAX = 1_000
