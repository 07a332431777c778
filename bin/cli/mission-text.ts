import type { Fact } from '../../daemon/contracts/fact.ts'
import type {
  MissionDetail,
  MissionProgress,
  MissionView,
  Validation,
} from '../../daemon/contracts/mission.ts'
import { stepsText } from './mission-steps.ts'
import { age, clean, duration, fields, since, size, table, tone } from './text.ts'

/** What create answers. */
export interface CreatedMission {
  readonly mission_id: string
  readonly status: MissionView['status']
  readonly decision: MissionView['decision']
  readonly score: number
  readonly validation: Validation
  readonly reasons: readonly string[]
  readonly counterfactual: { readonly sentence?: string } | null
}

export function missionsText(missions: readonly MissionView[], nowMs: number): string {
  if (missions.length === 0) return 'no missions\n'
  return table<MissionView>(
    [
      { head: 'MISSION', cell: (mission) => mission.mission_id },
      { head: 'CATEGORY', cell: ({ category }) => category },
      {
        head: 'STATUS',
        cell: ({ status }) => status,
        paint: (cell, { status }) => tone(STATUS_TONES[status] ?? 'warn', cell),
      },
      { head: 'DECISION', cell: ({ decision }) => decision },
      { head: 'SCORE', align: 'right', cell: ({ score }) => score.toFixed(1) },
      { head: 'TOOK', align: 'right', cell: (mission) => duration(mission.duration_ms) },
      { head: 'AGE', align: 'right', cell: (mission) => since(mission.created_at, nowMs) },
      ...(missions.some(({ expires_at }) => expires_at !== undefined)
        ? [{ head: 'EXPIRES', cell: (mission: MissionView) => until(mission.expires_at, nowMs) }]
        : []),
      { head: 'GOAL', cell: ({ goal }) => goal },
    ],
    missions,
  )
}

/** How a mission was judged, and what happens with it now. */
export function createdText(created: CreatedMission): string {
  const { mission_id, status, decision, score, validation } = created
  return `${fields([
    ['mission', mission_id],
    ['decision', `${decision} (score ${score.toFixed(1)})`],
    ['status', `${status}: ${NEXT[status] ?? ''}`.replace(/: $/, '')],
  ])}\n${validationText(validation)}`
}

/** The six axes with the points each cost, the gates, and the cheapest change that would help. */
export function validationText(validation: Validation): string {
  const axes = Object.entries(validation.axes as Readonly<Record<string, Partial<ShownAxis>>>)
  const shown = table<(typeof axes)[number]>(
    [
      { head: 'AXIS', cell: ([name]) => name },
      { head: 'VALUE', align: 'right', cell: ([, { value }]) => value?.toFixed(1) ?? '-' },
      { head: 'WEIGHT', align: 'right', cell: ([, { weight }]) => weight?.toFixed(2) ?? '-' },
      { head: 'LOST', align: 'right', cell: ([, { points_lost }]) => points_lost?.toFixed(1) ?? '-' },
      { head: 'N', align: 'right', cell: ([, { n }]) => String(n ?? '-') },
      { head: 'SOURCE', cell: ([, { source }]) => source ?? '-' },
      { head: 'EVIDENCE', cell: ([, { evidence = [] }]) => evidence.join(' ') },
    ],
    axes,
  )
  const gates = validation.gates.map(({ gate, because }) => `gate ${gate}: ${clean(because)}\n`)
  const reasons = validation.reasons.map((reason) => `because ${clean(reason)}\n`)
  const { sentence } = (validation.counterfactual ?? {}) as { sentence?: string }
  return [shown, ...gates, ...reasons, sentence === undefined ? '' : `would help: ${clean(sentence)}\n`].join(
    '',
  )
}

/** @param judged - Whether to tell how it was judged, too. */
export function missionText(mission: MissionDetail, nowMs: number, judged = true): string {
  const { status, error, approval, awaiting, progress } = mission
  const parts = [
    fields([
      ['mission', mission.mission_id],
      ['goal', mission.goal],
      ['category', mission.category],
      ['status', `${status}: ${mission.because}`],
      ['decision', `${mission.decision} (score ${mission.score.toFixed(1)})`],
      ['created', `${since(mission.created_at, nowMs)} ago by ${mission.principal}`],
      ['took', mission.duration_ms === null ? undefined : duration(mission.duration_ms)],
      ['limits', `${mission.constraints.max_time_seconds} s, ${mission.constraints.max_steps} steps`],
      ['plan', `${mission.plan.length} steps (${mission.plan_source})`],
      ['attempts', mission.attempts.length === 0 ? undefined : String(mission.attempts.length)],
      ['retry of', mission.retry_of],
      ['progress', progress === undefined ? undefined : progressText(progress)],
      [
        approval?.kind ?? 'approved',
        approval === null
          ? undefined
          : `by ${approval.by} at ${approval.at}${approval.reason ? `: ${approval.reason}` : ''}`,
      ],
      ['for', approval === null ? undefined : `digest ${approval.digest}`],
      [
        'expires',
        awaiting && `${until(awaiting.expires_at, nowMs)} (${awaiting.expires_at}) unless somebody decides`,
      ],
      ['would approve', awaiting && `${awaiting.covers.join(', ')}: digest ${awaiting.digest}`],
      ['error', error === undefined ? undefined : `${error.code}: ${error.message}`],
      ['result', mission.result === undefined ? undefined : JSON.stringify(mission.result)],
      ...mission.artifacts.map(
        ({ name, bytes, media_type }) => ['artifact', `${name} (${media_type}, ${size(bytes)})`] as const,
      ),
    ]),
    mission.steps.length === 0 ? '' : `\n${stepsText(mission)}`,
    judged ? `\n${validationText(mission.validation)}` : '',
  ]
  return parts.join('')
}

/** One fact of a mission as a line. */
export function factLine({ ts, type, d }: Fact): string {
  const told = ['step', 'status', 'outcome', 'reason', 'error_code', 'error_message']
    .map((key) => d[key])
    .filter((value) => typeof value === 'string' || typeof value === 'number')
  return `${ts}  ${type}  ${clean(told.join(' '))}`.trimEnd()
}

/** How far a running step says it is. */
export function progressText({ step, fraction, note }: MissionProgress): string {
  return clean(`${step} ${Math.round(fraction * 100)} %${note === null ? '' : `: ${note}`}`)
}

/** `in 6d`; `now` when it is due. */
function until(time: string | undefined, nowMs: number): string {
  if (time === undefined) return '-'
  const leftMs = Date.parse(time) - nowMs
  return leftMs <= 0 ? 'now' : `in ${age(leftMs)}`
}

interface ShownAxis {
  readonly value: number
  readonly weight: number
  readonly points_lost: number
  readonly n: number
  readonly source: string
  readonly evidence: readonly string[]
}

const STATUS_TONES: Readonly<Partial<Record<MissionView['status'], 'good' | 'bad' | 'dim'>>> = {
  completed: 'good',
  failed: 'bad',
  interrupted: 'bad',
  cancelled: 'dim',
  rejected: 'dim',
  expired: 'dim',
}

const NEXT: Readonly<Partial<Record<MissionView['status'], string>>> = {
  queued: 'it runs by itself',
  awaiting_approval: 'it waits for `nexus missions approve`',
  suggestion: 'it will not run',
}
