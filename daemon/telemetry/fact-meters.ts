import type { Fact } from '../contracts/fact.ts'
import { CATEGORIES, DECISIONS } from '../contracts/ids.ts'
import { MAINTENANCE_TASKS } from '../contracts/maintenance.ts'

type Labels = Record<string, string>
type Body = Fact['d']

/** What one fact adds to counters and histograms. */
interface Seen {
  readonly counts?: readonly (readonly [
    name: 'restarts' | 'reloads' | 'missions' | 'maintenance',
    labels: Labels,
  ])[]
  readonly measures?: readonly (readonly [
    name: 'reload' | 'mission' | 'wait',
    labels: Labels,
    seconds: number,
  ])[]
}

const STRATEGIES = ['graceful', 'rolling', 'canary', 'immediate'] as const
const DEPARTURES = ['halted', 'exited', 'hung', 'killed', 'displaced'] as const
const RUN_OUTCOMES = ['completed', 'failed', 'cancelled', 'rejected', 'expired', 'blocked'] as const
const FIRST_STATUS: Readonly<Record<string, string>> = {
  SAFE: 'queued',
  BORDERLINE: 'awaiting_approval',
  FAILING: 'suggestion',
}

/** How facts become numbers: one row for each type that counts. Whatever a label says comes from a fixed set. */
export const FACT_METERS: Readonly<Record<string, (d: Body) => Seen>> = {
  'module.crashed': (d) => ({
    counts: [['restarts', { module: text(d['module_id']), reason: departure(d) }]],
  }),
  'module.displaced': (d) => ({
    counts: [['restarts', { module: text(d['module_id']), reason: 'displaced' }]],
  }),
  'module.hung': (d) => ({ counts: [['restarts', { module: text(d['module_id']), reason: 'hung' }]] }),
  'module.reloaded': (d) => reload(d, 'reloaded'),
  'module.rolled_back': (d) => reload(d, 'rolled_back'),
  'mission.created': (d) => {
    const decision = of(DECISIONS, (d['validation'] as Body | undefined)?.['decision'])
    return mission(d, decision, FIRST_STATUS[decision] ?? 'other')
  },
  'mission.ended': (d) => ({
    ...mission(d, of(DECISIONS, d['decision']), of(['completed', 'failed'], d['status'])),
    measures: [['mission', { category: of(CATEGORIES, d['category']) }, seconds(d['duration_ms'])]],
  }),
  'maintenance.ended': (d) => ({
    counts: [
      ['maintenance', { task: of(MAINTENANCE_TASKS, d['task']), outcome: of(RUN_OUTCOMES, d['outcome']) }],
    ],
  }),
  'mission.claimed': (d) => ({ measures: [['wait', {}, seconds(d['queue_wait_ms'])]] }),
}

function mission(d: Body, decision: string, status: string): Seen {
  return { counts: [['missions', { category: of(CATEGORIES, d['category']), decision, status }]] }
}

function reload(d: Body, outcome: string): Seen {
  const module = text(d['module_id'])
  const strategy = of(STRATEGIES, d['strategy'])
  const tookMs = d['duration_ms']
  return {
    counts: [['reloads', { module, strategy, outcome }]],
    ...(typeof tookMs === 'number' && { measures: [['reload', { module }, seconds(tookMs)]] }),
  }
}

function departure(d: Body): string {
  return of(DEPARTURES, d['how'])
}

function of(known: readonly string[], value: unknown): string {
  return typeof value === 'string' && known.includes(value) ? value : 'other'
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : 'unknown'
}

function seconds(value: unknown): number {
  return typeof value === 'number' ? value / 1_000 : Number.NaN
}
