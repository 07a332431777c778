import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { MetricsParams } from '../contracts/wire.ts'

type Sample = MetricsParams['samples'][number]
type Instrument =
  | { readonly kind: 'counter'; readonly it: Counter }
  | { readonly kind: 'gauge'; readonly it: Gauge }
  | { readonly kind: 'histogram'; readonly it: Histogram }

/** A module that makes a name for each thing it meets would fill the memory of every scraper. */
const NAMES_MAX = 500
const NAMES_PER_MODULE_MAX = 50
const NAME_CHARS_MAX = 60
const HELP_CHARS_MAX = 200
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]

/**
 * What modules count themselves: `nexus_module_custom_<name>{module}`.
 *
 * Two modules may share a name when it is of one kind. What does not fit is dropped and counted, never thrown: a
 * module's mistake is not the daemon's.
 */
export class CustomMeters {
  readonly #registry: Registry
  readonly #instruments = new Map<string, Instrument>()
  readonly #names = new Map<string, Set<string>>()
  readonly #dropped: Counter

  constructor(registry: Registry) {
    this.#registry = registry
    this.#dropped = new Counter({
      name: 'nexus_module_custom_dropped_total',
      help: 'Samples of modules that were not taken: name, number of names, kind or value did not fit.',
      labelNames: ['module'],
      registers: [registry],
    })
  }

  take(module: string, sample: Sample): void {
    const instrument = this.#instrument(module, sample)
    if (instrument === undefined) this.#dropped.inc({ module })
    else this.#record(instrument, module, sample.values)
  }

  #record(instrument: Instrument, module: string, values: readonly number[]): void {
    for (const value of values) {
      if (!Number.isFinite(value) || (instrument.kind === 'counter' && value < 0))
        this.#dropped.inc({ module })
      else if (instrument.kind === 'counter') instrument.it.inc({ module }, value)
      else if (instrument.kind === 'gauge') instrument.it.set({ module }, value)
      else instrument.it.observe({ module }, value)
    }
  }

  #instrument(module: string, { kind, name, help }: Sample): Instrument | undefined {
    const full = fullName(kind, name)
    if (full === undefined) return undefined
    const known = this.#instruments.get(full)
    if (known !== undefined && known.kind !== kind) return undefined
    const names = this.#names.get(module) ?? new Set()
    if (!names.has(full) && names.size >= NAMES_PER_MODULE_MAX) return undefined
    if (known === undefined && this.#instruments.size >= NAMES_MAX) return undefined
    this.#names.set(module, names.add(full))
    if (known !== undefined) return known
    const made = make(kind, {
      name: full,
      help: helpOf(help, name),
      labelNames: ['module'],
      registers: [this.#registry],
    })
    this.#instruments.set(full, made)
    return made
  }
}

/** Counters end in `_total`; nothing else ends in what Prometheus keeps for itself. */
function fullName(kind: Sample['kind'], name: string): string | undefined {
  if (name.length > NAME_CHARS_MAX || !/^[a-z][a-z0-9_]*$/.test(name)) return undefined
  const stem = name.replace(/(_(total|count|sum|bucket|info))+$/, '')
  return `nexus_module_custom_${stem}${kind === 'counter' ? '_total' : ''}`
}

function helpOf(help: string, name: string): string {
  const text = help.trim().slice(0, HELP_CHARS_MAX)
  return text === '' ? `${name} of a module.` : text
}

function make(
  kind: Sample['kind'],
  options: { name: string; help: string; labelNames: string[]; registers: Registry[] },
): Instrument {
  if (kind === 'counter') return { kind, it: new Counter(options) }
  if (kind === 'gauge') return { kind, it: new Gauge(options) }
  return { kind, it: new Histogram({ ...options, buckets: SECONDS }) }
}
