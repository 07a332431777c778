import type { Cli } from './cli.ts'
import { EXIT } from './exit.ts'
import { age, clean, since, table, tone } from './text.ts'

interface Omen {
  readonly module_id: string | null
  readonly kind: string
  readonly level: string
  readonly held: boolean
  readonly count: number
  readonly score: number
  readonly because: string
  readonly evidence: readonly string[]
  readonly last_seen: string
  readonly next_level: { readonly level: string; readonly at: number } | null
  readonly probation_until: string | null
}

export interface OmenFilter {
  readonly module?: string
  readonly level?: string
  readonly kind?: string
}

/** `nexus omens`: repeated failures, counted. */
export async function omens(cli: Cli, { module, level, kind }: OmenFilter): Promise<number> {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries({ module, level, kind })) {
    if (value !== undefined) query.set(name, value)
  }
  const list = await cli.get<{ omens: readonly Omen[] }>(`/v1/system/omens?${query}`)
  if (cli.json) cli.printJson(list)
  else if (list.omens.length > 0) cli.print(omensText(list.omens, cli.clock.now()))
  else cli.print(query.size > 0 ? 'no such omens\n' : 'no omens: nothing has failed repeatedly\n')
  return EXIT.ok
}

export function omensText(omens: readonly Omen[], nowMs: number): string {
  return table<Omen>(
    [
      {
        head: 'LEVEL',
        cell: ({ level, held }) => (held ? `${level} (held)` : level),
        paint: (cell, { level, held }) =>
          tone(level === 'ignore' || held ? 'dim' : level === 'warn' ? 'warn' : 'bad', cell),
      },
      { head: 'COUNT', align: 'right', cell: ({ count }) => String(count) },
      { head: 'SCORE', align: 'right', cell: ({ score }) => score.toFixed(1) },
      { head: 'NEXT', cell: ({ next_level: next }) => (next === null ? '-' : `${next.level} at ${next.at}`) },
      { head: 'LAST', align: 'right', cell: (omen) => since(omen.last_seen, nowMs) },
      { head: 'MODULE', cell: (omen) => omen.module_id ?? '-' },
      { head: 'KIND', cell: ({ kind }) => kind },
      {
        head: 'PROBATION',
        align: 'right',
        cell: ({ probation_until: until }) =>
          until === null ? '-' : age(Math.max(0, Date.parse(until) - nowMs)),
      },
      { head: 'BECAUSE', cell: ({ because }) => because },
      { head: 'EVIDENCE', cell: ({ evidence }) => evidence.join(', ') },
    ],
    omens,
  )
}

interface Prediction {
  readonly statement: string
  readonly status: string
  readonly probability: number | null
  readonly interval: readonly [number, number] | null
  readonly n: number
  readonly horizon: string
  readonly eta_hours?: { readonly low: number; readonly high: number }
  readonly recommended?: { readonly max_time_seconds: number }
}

interface Skill {
  readonly kind: string
  readonly n: number
  readonly brier: number | null
  readonly base_brier: number | null
  readonly calibration_error: number | null
  readonly sentence: string
}

/** `nexus predictions`: what is stated now, and how earlier statements held. */
export async function predictions(cli: Cli): Promise<number> {
  const list = await cli.get<{
    predictions: readonly Prediction[]
    open?: readonly object[]
    skill?: readonly Skill[]
    note?: string
  }>('/v1/system/predictions')
  if (cli.json) {
    cli.printJson(list)
    return EXIT.ok
  }
  cli.print(list.predictions.length === 0 ? 'no predictions\n' : predictionsText(list.predictions))
  const scored = (list.skill ?? []).filter(({ n }) => n > 0)
  if (scored.length > 0) cli.print(`\n${skillText(scored)}`)
  const waiting = list.open?.length ?? 0
  if (waiting > 0) cli.print(`${waiting} on record, to be resolved\n`)
  if (list.note) cli.print(`${clean(list.note)}\n`)
  return EXIT.ok
}

/** How earlier statements held, by kind. */
export function skillText(skills: readonly Skill[]): string {
  const number = (value: number | null): string => (value === null ? '-' : value.toFixed(3))
  return table<Skill>(
    [
      { head: 'KIND', cell: ({ kind }) => kind },
      { head: 'BRIER', align: 'right', cell: ({ brier }) => number(brier) },
      { head: 'BASE', align: 'right', cell: ({ base_brier: base }) => number(base) },
      { head: 'ECE', align: 'right', cell: ({ calibration_error: error }) => number(error) },
      { head: 'HOW IT HELD', cell: ({ sentence }) => sentence },
    ],
    skills,
  )
}

export function predictionsText(predictions: readonly Prediction[]): string {
  return table<Prediction>(
    [
      { head: 'P', align: 'right', cell: ({ probability }) => percent(probability) },
      {
        head: '80 %',
        align: 'right',
        cell: ({ interval }) => (interval === null ? '-' : `${percent(interval[0])}–${percent(interval[1])}`),
      },
      { head: 'N', align: 'right', cell: ({ n }) => String(n) },
      { head: 'HORIZON', cell: ({ horizon }) => horizon },
      { head: 'STATEMENT', cell: (prediction) => `${prediction.statement}${besides(prediction)}` },
    ],
    predictions,
  )
}

function besides({ status, eta_hours: eta, recommended }: Prediction): string {
  if (status === 'muted') return ' (muted: no better than the base rate)'
  if (status !== 'stated') return ` (${status})`
  if (eta !== undefined) return ` (in ${eta.low} to ${eta.high} h)`
  return recommended === undefined ? '' : ` (a limit that would do: ${recommended.max_time_seconds} s)`
}

interface Rune {
  readonly rune: string
  readonly version: number
  readonly state: string
  readonly category: string
  readonly tokens: readonly string[]
  readonly successes: number
  readonly n: number
  readonly bound: number
  readonly lift: {
    readonly difference: number | null
    readonly interval: readonly [number, number] | null
    readonly verdict: string
  }
  readonly plan: readonly { readonly uses: string }[]
}

/** `nexus runes`: plans learned from successes. */
export async function runes(cli: Cli): Promise<number> {
  const list = await cli.get<{ runes: readonly Rune[]; note: string }>('/v1/system/templates')
  if (cli.json) cli.printJson(list)
  else cli.print(list.runes.length === 0 ? `no runes: ${clean(list.note)}\n` : runesText(list.runes))
  return EXIT.ok
}

export function runesText(runes: readonly Rune[]): string {
  return table<Rune>(
    [
      { head: 'RUNE', cell: ({ rune }) => rune },
      { head: 'VERSION', align: 'right', cell: ({ version }) => String(version) },
      { head: 'STATE', cell: ({ state }) => state },
      { head: 'CATEGORY', cell: ({ category }) => category },
      { head: 'SUCCESSES', align: 'right', cell: ({ successes, n }) => `${successes}/${n}` },
      { head: 'BOUND', align: 'right', cell: ({ bound }) => bound.toFixed(3) },
      { head: 'LIFT', cell: ({ lift }) => liftText(lift) },
      { head: 'GOAL', cell: ({ tokens }) => tokens.join(' ') },
      { head: 'PLAN', cell: ({ plan }) => plan.map(({ uses }) => uses).join(', ') },
    ],
    runes,
  )
}

function liftText({ difference, interval, verdict }: Rune['lift']): string {
  if (difference === null || interval === null) return verdict
  const signed = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value * 100).toFixed(0)}`
  return `${signed(difference)} % (${signed(interval[0])} to ${signed(interval[1])}), ${verdict}`
}

function percent(share: number | null): string {
  return share === null ? '-' : `${(share * 100).toFixed(0)} %`
}
