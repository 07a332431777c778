import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** One line that a module left outside the daemon: what it was asked to do, and when. */
export interface Effect {
  readonly say: 'begun' | 'done'
  readonly mission: string
  readonly step: string
  readonly epoch: number
  readonly token: string
  readonly kind: 'once' | 'again'
  /** What `$from` gave it; null where the plan has none. */
  readonly from: string | null
  readonly pid: number
  /** Nanoseconds of the machine's monotonic clock, one for all processes. */
  readonly at: bigint
}

/** What clients know without asking: kept outside the daemon. */
export interface Known {
  /** Under which key each mission was accepted, and every id that ever came back for that key. */
  readonly accepted: ReadonlyMap<string, ReadonlySet<string>>
  /** Every process that was killed, the hosts of a killed daemon included. */
  readonly killed: ReadonlySet<number>
  /** What the daemon says of each mission in the end. */
  readonly statuses: ReadonlyMap<string, string>
}

/** Everything that must not be; each list is empty when all is well. */
export interface Findings {
  readonly lost: string[]
  readonly doubled: string[]
  readonly notOneEnd: string[]
  readonly otherStatus: string[]
  readonly ranTwice: string[]
  readonly effectMissing: string[]
  readonly effectUnaccounted: string[]
  readonly atOnce: string[]
  readonly wrongInput: string[]
  readonly brokenOff: string[]
}

/** Judges by the files alone: the journal as text, and the effects. Nothing of the daemon's code is used. */
export function judge(dataDir: string, effects: readonly Effect[], known: Known): Findings {
  const facts = readJournal(dataDir)
  const found: Findings = {
    lost: [],
    doubled: [],
    notOneEnd: [],
    otherStatus: [],
    ranTwice: [],
    effectMissing: [],
    effectUnaccounted: [],
    atOnce: [],
    wrongInput: [],
    brokenOff: [],
  }
  const created = new Set(facts.filter(({ type }) => type === 'mission.created').map(({ mid }) => mid))
  for (const [key, ids] of known.accepted) {
    if (ids.size > 1) found.doubled.push(`${key}: ${[...ids].join(' ')}`)
    for (const id of ids) if (!created.has(id)) found.lost.push(`${key} ${id}`)
  }
  const accepted = new Set([...known.accepted.values()].flatMap((ids) => [...ids]))
  for (const id of created)
    if (id === undefined || !accepted.has(id)) found.doubled.push(`${id}: nobody was told of it`)
  const factsOf = Map.groupBy(facts, ({ mid }) => mid)
  const effectsOf = Map.groupBy(effects, ({ mission }) => mission)
  for (const id of accepted) {
    judgeMission(id, factsOf.get(id) ?? [], effectsOf.get(id) ?? [], known, found)
    effectsOf.delete(id)
  }
  for (const id of effectsOf.keys()) found.effectUnaccounted.push(`${id}: no such mission`)
  return found
}

/** Reads what the modules have left so far. */
export function readEffects(file: string): Effect[] {
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => {
    const { at, ...rest } = JSON.parse(line)
    return { ...rest, at: BigInt(at) }
  })
}

interface Line {
  readonly type: string
  readonly mid?: string
  readonly ep?: number
  // biome-ignore lint/suspicious/noExplicitAny: bodies differ by type.
  readonly d: any
}

function judgeMission(
  id: string,
  facts: readonly Line[],
  effects: readonly Effect[],
  known: Known,
  found: Findings,
): void {
  const ends = facts.filter(({ type }) => type in ENDS)
  if (ends.length !== 1) found.notOneEnd.push(`${id}: ${ends.map(({ type }) => type).join(' ') || 'no end'}`)
  const end = ends[0]
  if (end !== undefined && facts.at(-1) !== end)
    found.notOneEnd.push(`${id}: ${facts.at(-1)?.type} after its end`)
  const status = end === undefined ? undefined : (end.d.status ?? ENDS[end.type])
  if (known.statuses.get(id) !== status) {
    found.otherStatus.push(`${id}: recorded ${status}, told ${known.statuses.get(id)}`)
  }
  const begun = effects.filter(({ say }) => say === 'begun')
  const done = effects.filter(({ say }) => say === 'done')
  for (const [step, all] of Map.groupBy(begun, ({ step }) => step)) {
    if (all[0]?.kind === 'once' && all.length > 1) found.ranTwice.push(`${id}/${step}: ${all.length} times`)
  }
  for (const { step, epoch, token, from, kind } of begun) {
    const isStarted = facts.some(
      ({ type, ep, d }) => type === 'mission.step_started' && ep === epoch && d.step === step,
    )
    if (!isStarted) found.effectUnaccounted.push(`${id}/${step}: attempt ${epoch} has no record of its start`)
    if (token !== `${id}/${step}`) found.wrongInput.push(`${id}/${step}: token ${token}`)
    // Each step is given the mark of one before it.
    if (from !== null && !new RegExp(`^${id}/[a-z]+$`).test(from))
      found.wrongInput.push(`${id}/${step}: from ${from}`)
    if (kind !== 'once' && kind !== 'again') found.wrongInput.push(`${id}/${step}: ${kind}`)
  }
  if (status === 'completed') found.effectMissing.push(...missingEffects(id, facts, done))
  found.atOnce.push(...overlaps(id, effects))
  for (const { step, epoch, pid } of begun) {
    const isDone = done.some((one) => one.step === step && one.epoch === epoch)
    if (!isDone && !known.killed.has(pid)) found.brokenOff.push(`${id}/${step}: ${pid} was not killed`)
  }
}

/** Every step of a completed mission was done or skipped by an operator, and what was done left its line. */
function missingEffects(id: string, facts: readonly Line[], done: readonly Effect[]): string[] {
  const plan: { id: string }[] = facts.find(({ type }) => type === 'mission.created')?.d.plan ?? []
  const skips = facts.filter(({ type, d }) => type === 'mission.resumed' && d.mode === 'skip')
  const skipped = new Set(skips.flatMap(({ d }) => d.steps as string[]))
  return plan.flatMap(({ id: step }) => {
    if (skipped.has(step)) return []
    const finished = facts.find(
      ({ type, d }) => type === 'mission.step_finished' && d.step === step && d.status === 'completed',
    )
    if (finished === undefined) return [`${id}/${step}: no record of its end`]
    return done.some((one) => one.step === step && one.epoch === finished.ep)
      ? []
      : [`${id}/${step}: no effect`]
  })
}

/** Whatever an attempt does, it does before the next one begins. */
function overlaps(id: string, effects: readonly Effect[]): string[] {
  const inOrder = effects.toSorted((a, b) => (a.at < b.at ? -1 : 1))
  let newest = 0
  return inOrder.flatMap(({ epoch, step, say }) => {
    const isLate = epoch < newest
    newest = Math.max(newest, epoch)
    return isLate ? [`${id}/${step}: ${say} by attempt ${epoch} while ${newest} was at work`] : []
  })
}

function readJournal(dataDir: string): Line[] {
  const sealed = readdirSync(join(dataDir, 'audit'))
    .filter((name) => /^\d+\.jsonl$/.test(name))
    .sort()
  const files = [...sealed.map((name) => join(dataDir, 'audit', name)), join(dataDir, 'audit.jsonl')]
  const lines = files.flatMap((file) => readFileSync(file, 'utf8').split('\n').filter(Boolean))
  return lines.map((line) => JSON.parse(line))
}

/** The records that end a mission for good, and its status then where the record does not say. */
const ENDS: Readonly<Record<string, string>> = {
  'mission.ended': '',
  'mission.cancelled': 'cancelled',
  'mission.rejected': 'rejected',
  'mission.expired': 'expired',
}
