import type { Fact, FactDraft, MissionOutcome } from '../../daemon/contracts/fact.ts'
import type { PlanStep } from '../../daemon/contracts/mission.ts'
import { readGoal } from '../../daemon/insight/fingerprint.ts'
import { Insight, type InsightParts } from '../../daemon/insight/insight.ts'
import type { OmenChange } from '../../daemon/insight/omen.ts'
import { planShape } from '../../daemon/insight/plan-template.ts'
import type { Question } from '../../daemon/insight/port.ts'
import { TestClock } from '../support/test-clock.ts'

export const ANALYST = 'cortex/analyst'
export const START_MS = Date.UTC(2026, 10, 22, 10)
export const HOUR_MS = 3_600_000

/** An insight of its own, and the facts told to it: one after the other, a second apart, as a journal would. */
export class Story {
  readonly clock = new TestClock(START_MS)
  readonly facts: Fact[] = []
  readonly changes: OmenChange[] = []
  /** What was proposed and not told yet. */
  readonly proposed: FactDraft[] = []
  readonly insight: Insight

  constructor(parts: Omit<InsightParts, 'clock'> = {}) {
    this.insight = new Insight({
      clock: this.clock,
      onOmenChanged: (change) => {
        this.changes.push(change)
      },
      propose: (draft) => {
        this.proposed.push(draft)
      },
      ...parts,
    })
    this.insight.begin()
  }

  tell(type: string, d: object, mid?: string): Fact {
    this.clock.jump(1_000)
    const seq = this.facts.length + 1
    const ts = new Date(this.clock.now()).toISOString()
    const actor = { kind: 'daemon', name: 'test' } as const
    const fact = { v: 1, seq, b: seq, ts, type, actor, d: d as Fact['d'], h: '', ...(mid && { mid }) } as Fact
    this.facts.push(fact)
    this.insight.fold(fact)
    return fact
  }

  /** Puts on record what was proposed, as compose does. Returns the facts. */
  record(): Fact[] {
    return this.proposed.splice(0).map(({ type, d }) => this.tell(type, d))
  }

  ended(outcome: Partial<MissionOutcome> & { goal?: string } = {}, mid = this.nextMid()): Fact {
    const { goal = GOAL, ...rest } = outcome
    const success = rest.success ?? true
    const body = {
      status: success ? 'completed' : 'failed',
      category: 'coin',
      decision: 'SAFE',
      modules: [ANALYST],
      ...readGoal(goal),
      plan_shape: 'p-1',
      success,
      first_pass: success,
      duration_ms: 6_000,
      steps: 1,
      cpu_seconds: 1,
      operator_minutes: 0,
      predicted: 0.9,
      ...(!success && { error_code: 'ACTION_FAILED', error_message: 'it threw', step: 'run' }),
      ...rest,
    }
    return this.tell('mission.ended', body, mid)
  }

  selfTested(runs = 3, body: object = {}): Fact {
    return this.tell('module.self_tested', {
      module_id: ANALYST,
      generation: 'g1',
      categories: ['coin'],
      runs: Array.from({ length: runs }, () => ({ action: 'profile', ok: true, duration_ms: 10 })),
      ...body,
    })
  }

  /** A whole mission as the runes see it. */
  mission(
    plan: readonly PlanStep[],
    order: {
      goal?: string
      input?: unknown
      success?: boolean
      rune?: string
      validation?: object
      constraints?: object
      outcome?: Partial<MissionOutcome>
    } = {},
  ): string {
    const mid = this.nextMid()
    const { goal = GOAL, success = true, outcome, ...more } = order
    const shape = { plan_shape: planShape(plan) }
    this.tell('mission.created', { goal, category: 'coin', plan, ...readGoal(goal), ...shape, ...more }, mid)
    this.ended({ goal, success, ...shape, ...outcome }, mid)
    return mid
  }

  /** Another insight on the same clock that is told these facts, and has not begun to report. */
  again(facts: readonly Fact[]): { insight: Insight; changes: OmenChange[] } {
    const changes: OmenChange[] = []
    const insight = new Insight({ clock: this.clock, onOmenChanged: (change) => void changes.push(change) })
    for (const fact of facts) insight.fold(fact)
    return { insight, changes }
  }

  nextMid(): string {
    return `m-${String(this.facts.length).padStart(26, '0')}`
  }
}

export const GOAL = 'Optimize lead conversion process'

/** The specification's example mission, planned in three steps by one module. */
export const QUESTION: Question = {
  goal: GOAL,
  category: 'coin',
  constraints: { max_time_seconds: 60, max_steps: 3 },
  plan: ['profile', 'segment', 'report'].map((action) => ({ id: action, module_id: ANALYST, action })),
  modules: [{ module_id: ANALYST, known: true, locked: false, generation: 'g1' }],
}
