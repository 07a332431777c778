import type { ModuleId } from '../contracts/ids.ts'
import { rounded } from './numbers.ts'
import type { Omen, OmenChange, OmenView } from './omen.ts'
import { type OmenSubject, sentenceOf, systemOmen } from './omen-keys.ts'
import type { OmenLevel } from './omen-levels.ts'
import type { SystemOmen } from './system-omen.ts'

/** An omen with the figures of this moment. */
export function viewOf(
  omen: Omen,
  state: { readonly count: number; readonly score: number },
  outlook: Pick<OmenView, 'level' | 'next_level' | 'probation_until'>,
): OmenView {
  const { level, ...rest } = outlook
  return {
    key: omen.key,
    module_id: omen.moduleId,
    kind: omen.kind,
    level,
    held: omen.held,
    count: state.count,
    score: rounded(state.score, 2),
    because: sentenceOf(omen, state.count),
    first_seen: new Date(omen.firstMs).toISOString(),
    last_seen: new Date(omen.lastMs).toISOString(),
    evidence: omen.evidence,
    ...rest,
  }
}

/** A change of it, for the record. */
export function changeOf(
  subject: OmenSubject,
  figures: Pick<OmenChange, 'held' | 'count' | 'score' | 'evidence'>,
  levels: { readonly level: OmenLevel; readonly previous: OmenLevel },
): OmenChange {
  const { held, count, score, evidence } = figures
  return {
    key: subject.key,
    module_id: subject.moduleId,
    kind: subject.kind,
    ...levels,
    held,
    count,
    score: rounded(score, 2),
    because: sentenceOf(subject, count),
    evidence,
  }
}

/** The system omen beside the others. Nothing is harder than warn: there is nobody to lock. */
export function causeView({ members, openedMs, lastFailureMs }: Readonly<SystemOmen>): OmenView {
  const { key, kind, what } = systemOmen(members.length)
  return {
    ...{ key, module_id: null, kind, level: 'warn', held: false, count: members.length, score: 0 },
    because: what,
    first_seen: new Date(openedMs).toISOString(),
    last_seen: new Date(lastFailureMs).toISOString(),
    evidence: members.slice(0, MEMBERS_TOLD),
    next_level: null,
    probation_until: null,
  }
}

/** Its beginning, with those it holds; its end, without. */
export function causeChange(members: readonly ModuleId[] | undefined): OmenChange {
  const { key, kind, what } = systemOmen(members?.length ?? 0)
  const began = members !== undefined
  return {
    ...{ key, module_id: null, kind, held: false, count: members?.length ?? 0, score: 0 },
    level: began ? 'warn' : 'ignore',
    previous: began ? 'ignore' : 'warn',
    because: began ? what : 'the common cause is over',
    evidence: members?.slice(0, MEMBERS_TOLD) ?? [],
  }
}

/** Enough to see what they have in common; all of them are listed as held. */
const MEMBERS_TOLD = 20
