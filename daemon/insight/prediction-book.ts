import type { Fact, FactDraft } from '../contracts/fact.ts'
import type { ModuleId } from '../contracts/ids.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { isCrash, moduleOf, outcomeOf, textOf, timeOf } from './facts.ts'
import { type About, type Found, keyOf, type OpenView, type PredictionSubject } from './prediction.ts'
import { PREDICTION_KINDS, type PredictionKind } from './scores.ts'

/** What the book needs to settle what nobody resolved in time. */
export interface BookParts {
  readonly clock: Clock
  /** To be journaled; folded again once it is. */
  readonly propose: (draft: FactDraft) => void
  /** How long a module has been up altogether. */
  readonly upMs: (moduleId: ModuleId, nowMs: number) => number
  /** It came true, or did not: to be scored. Once for each, however often that is recorded. */
  readonly cameTrue: (kind: PredictionKind, probability: number, is: boolean) => void
  /** Whether what a prediction is about has run out; undefined when nobody can tell. */
  readonly isExhausted: (key: string, nowMs: number) => boolean | undefined
}

/**
 * The predictions on record: made, and not resolved yet.
 *
 * State comes from facts alone. What is made stands until it is resolved: one that could be taken back when it looks
 * bad would be worth nothing. It proposes, and writes nothing itself.
 */
export class PredictionBook {
  readonly #parts: BookParts
  readonly #open = new Map<string, Open>()
  /** When one was last made, by key; and how many today, by kind. */
  readonly #madeMs = new Map<string, number>()
  #day = { number: 0, made: new Map<string, number>() }
  /** Off while old facts are folded again. */
  #live = false
  #timer: Timer | undefined

  constructor(parts: BookParts) {
    this.#parts = parts
  }

  fold(fact: Fact): void {
    if (fact.type === 'mission.ended') this.#mission(fact)
    else if (fact.type === 'prediction.made') this.#made(fact)
    else if (fact.type === 'prediction.resolved') this.#resolved(fact)
    else if (isCrash(fact)) this.#crash(fact)
  }

  /** From now on it proposes; first of all what a crash of the daemon kept from the journal. */
  begin(): void {
    this.#live = true
    this.#settleDue()
  }

  stop(): void {
    this.#live = false
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Whether one may be made now: it costs a record each time, and is worth one now and then. */
  mayMake(kind: PredictionKind, subject: PredictionSubject): boolean {
    if (!this.#live) return false
    const nowMs = this.#parts.clock.now()
    const key = keyOf(kind, subject)
    if (this.#open.has(key) || this.#open.size >= OPEN_MAX) return false
    const lastMs = this.#madeMs.get(key)
    if (lastMs !== undefined && Math.abs(nowMs - lastMs) < PACE_MS[kind]) return false
    return this.#day.number !== dayOf(nowMs) || (this.#day.made.get(kind) ?? 0) < A_DAY_MAX
  }

  /** Proposes it when it says something; to be asked `mayMake` first. */
  make(found: Found | undefined): void {
    if (found?.status !== 'stated') return
    const { status: _, ...body } = found
    // A second one must not follow before the first is on record.
    this.#madeMs.set(keyOf(found.kind, found.subject), this.#parts.clock.now())
    this.#parts.propose({ type: 'prediction.made', actor: ACTOR, d: { ...body } })
  }

  open(): OpenView[] {
    return [...this.#open.values()].map(
      ({ kind, subject, statement, probability, made, madeMs, expiresMs }) => ({
        kind,
        subject,
        statement,
        probability,
        made,
        made_at: new Date(madeMs).toISOString(),
        expires_at: new Date(expiresMs).toISOString(),
      }),
    )
  }

  save(): SavedBook {
    return {
      open: [...this.#open].map(([key, open]) => [key, { ...open, proposedMs: null }]),
      made_ms: [...this.#madeMs],
      day: [this.#day.number, [...this.#day.made]],
    }
  }

  load(saved: SavedBook): void {
    this.#open.clear()
    for (const [key, open] of saved.open) this.#open.set(key, { ...open })
    this.#madeMs.clear()
    for (const [key, atMs] of saved.made_ms) this.#madeMs.set(key, atMs)
    this.#day = { number: saved.day[0], made: new Map(saved.day[1]) }
  }

  #made(fact: Fact): void {
    const { d, seq } = fact
    const [kind, statement, expires] = [textOf(d, 'kind'), textOf(d, 'statement'), textOf(d, 'expires_at')]
    const [subject, about] = [d['subject'], d['about']]
    const probability = d['probability']
    if (!isKind(kind) || statement === undefined || typeof probability !== 'number') return
    const madeMs = timeOf(fact)
    const of = (subject ?? {}) as PredictionSubject
    const key = keyOf(kind, of)
    const expiresMs = Date.parse(expires ?? '')
    this.#open.set(key, {
      kind,
      subject: of,
      statement,
      probability,
      about: (about ?? {}) as About,
      made: seq,
      madeMs,
      expiresMs: Number.isFinite(expiresMs) ? expiresMs : madeMs,
      upMs: of.module_id === undefined ? 0 : this.#parts.upMs(of.module_id, madeMs),
      seen: 0,
      failed: 0,
      verdict: null,
      proposedMs: null,
    })
    this.#count(key, kind, madeMs)
    this.#schedule()
  }

  #resolved({ d }: Fact): void {
    for (const [key, { made, kind, probability }] of this.#open) {
      if (made !== d['made']) continue
      this.#open.delete(key)
      const outcome = d['outcome']
      if (outcome === 'true' || outcome === 'false')
        this.#parts.cameTrue(kind, probability, outcome === 'true')
    }
    this.#schedule()
  }

  #mission(fact: Fact): void {
    if (this.#open.size === 0) return
    const outcome = outcomeOf(fact)
    if (outcome === undefined) return
    const { category, modules, success, duration_ms: durationMs, error_code: code } = outcome
    for (const module_id of modules) {
      const late = this.#open.get(keyOf('deadline_miss', { module_id, category }))
      if (late !== undefined) {
        const limitMs = late.about['limit_ms'] ?? 0
        // Cut off sooner than the limit that was spoken of: nobody knows.
        const unknown = code === 'MAX_TIME_EXCEEDED' && durationMs < limitMs * ALMOST
        this.#decide(late, unknown ? 'expired' : durationMs >= limitMs ? 'true' : 'false')
      }
      const worse = this.#open.get(keyOf('degradation', { module_id, category }))
      if (worse !== undefined) {
        worse.seen += 1
        if (!success) worse.failed += 1
        const { missions = 0, failures = 0 } = worse.about
        if (worse.failed >= failures) this.#decide(worse, 'true')
        else if (worse.seen - worse.failed > missions - failures) this.#decide(worse, 'false')
      }
    }
  }

  #crash(fact: Fact): void {
    const module_id = moduleOf(fact)
    if (this.#open.size === 0 || module_id === undefined) return
    this.#decide(this.#open.get(keyOf('module_crash', { module_id })), 'true')
    if (textOf(fact.d, 'reason')?.includes('limits.memory_mb'))
      this.#decide(this.#open.get(keyOf('exhaustion', { module_id, resource: 'memory' })), 'true')
  }

  /** The first verdict stands. */
  #decide(open: Open | undefined, verdict: Verdict): void {
    if (open === undefined || open.verdict !== null) return
    open.verdict = verdict
    this.#settle(open)
  }

  #settle(open: Open): void {
    if (!this.#live || open.verdict === null) return
    open.proposedMs = this.#parts.clock.now()
    const { made, kind, subject, statement, probability, verdict, seen, failed } = open
    const counted = kind === 'degradation' ? { seen, failed } : {}
    const d = { made, kind, subject, statement, probability, outcome: verdict, ...counted }
    this.#parts.propose({ type: 'prediction.resolved', actor: ACTOR, d })
  }

  /** Resolves what is over, proposes again what was not recorded, and waits for the nearest expiry. */
  #settleDue(): void {
    const nowMs = this.#parts.clock.now()
    for (const [key, open] of this.#open) {
      const asked = open.proposedMs !== null && nowMs - open.proposedMs < AGAIN_AFTER_MS
      if (open.verdict !== null && !asked) this.#settle(open)
      else if (open.verdict === null && nowMs >= open.expiresMs)
        this.#decide(open, this.#atExpiry(key, open, nowMs))
    }
    this.#schedule()
  }

  /** What had to happen within a time did not; unless nobody was there to see it. */
  #atExpiry(key: string, { kind, subject, madeMs, upMs }: Open, nowMs: number): Verdict {
    if (kind === 'exhaustion') {
      const exhausted = this.#parts.isExhausted(key, nowMs)
      return exhausted === undefined ? 'expired' : exhausted ? 'true' : 'false'
    }
    if (kind !== 'module_crash' || subject.module_id === undefined) return 'expired'
    const upSince = this.#parts.upMs(subject.module_id, nowMs) - upMs
    return upSince >= 0.5 * (nowMs - madeMs) ? 'false' : 'expired'
  }

  /** Something was measured: what has run out came true. */
  measured(nowMs: number): void {
    for (const [key, open] of this.#open)
      if (open.kind === 'exhaustion' && this.#parts.isExhausted(key, nowMs) === true)
        this.#decide(open, 'true')
  }

  #schedule(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (!this.#live || this.#open.size === 0) return
    const nowMs = this.#parts.clock.now()
    let dueMs = Number.POSITIVE_INFINITY
    for (const { expiresMs, proposedMs } of this.#open.values())
      dueMs = Math.min(dueMs, proposedMs === null ? expiresMs : proposedMs + AGAIN_AFTER_MS)
    this.#timer = this.#parts.clock.after(Math.max(WAIT_MS_MIN, dueMs - nowMs), () => this.#settleDue())
  }

  #count(key: string, kind: PredictionKind, nowMs: number): void {
    this.#madeMs.delete(key)
    this.#madeMs.set(key, nowMs)
    const oldest = this.#madeMs.keys().next().value
    if (this.#madeMs.size > SUBJECTS_MAX && oldest !== undefined) this.#madeMs.delete(oldest)
    if (this.#day.number !== dayOf(nowMs)) this.#day = { number: dayOf(nowMs), made: new Map() }
    this.#day.made.set(kind, (this.#day.made.get(kind) ?? 0) + 1)
  }
}

/** `expired`: nobody can say, so it is not scored. */
type Verdict = 'true' | 'false' | 'expired'

interface Open {
  readonly kind: PredictionKind
  readonly subject: PredictionSubject
  readonly statement: string
  readonly probability: number
  readonly about: About
  readonly made: number
  readonly madeMs: number
  readonly expiresMs: number
  /** How long its module had been up altogether when it was made. */
  readonly upMs: number
  /** Missions since, and failed ones among them. */
  seen: number
  failed: number
  verdict: Verdict | null
  /** When the verdict was last handed over to be recorded. */
  proposedMs: number | null
}

export interface SavedBook {
  readonly open: readonly (readonly [string, Open])[]
  readonly made_ms: readonly (readonly [string, number])[]
  readonly day: readonly [number, readonly (readonly [string, number])[]]
}

function isKind(kind: string | undefined): kind is PredictionKind {
  return PREDICTION_KINDS.some((known) => known === kind)
}

function dayOf(atMs: number): number {
  return Math.floor(atMs / DAY_MS)
}

const ACTOR = { kind: 'daemon', name: 'insight' } as const
const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
/** A limit is kept to the millisecond, a duration is measured around it. */
const ALMOST = 0.99
/** The same thing said again sooner is no second prediction: it would count one mistake many times. */
const PACE_MS: Readonly<Record<PredictionKind, number>> = {
  // Stands in the record of each mission; never made here.
  mission_failure: Number.POSITIVE_INFINITY,
  deadline_miss: 10 * MINUTE_MS,
  module_crash: 60 * MINUTE_MS,
  exhaustion: 60 * MINUTE_MS,
  degradation: 60 * MINUTE_MS,
}
/** Two records each: 400 lines a day for a kind, some 200 KB of journal. */
const A_DAY_MAX = 200
/** As many modules as one daemon supervises, in two of the kinds. */
const OPEN_MAX = 2_000
const SUBJECTS_MAX = 10_000
/** A proposal that was not recorded by then was lost: a full or slow disk passes by itself. */
const AGAIN_AFTER_MS = MINUTE_MS
const WAIT_MS_MIN = 1_000
