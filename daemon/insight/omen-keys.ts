import type { Fact, MissionOutcome } from '../contracts/fact.ts'
import type { ModuleId } from '../contracts/ids.ts'
import { textOf } from './facts.ts'
import { withPlaceholders } from './fingerprint.ts'

export type OmenKind = 'mission_failed' | 'crashed' | 'hung'

/** One way in which something fails again and again. */
export interface OmenSubject {
  readonly key: string
  readonly kind: OmenKind
  /** Null where no single module is to blame. */
  readonly moduleId: ModuleId | null
  /** The module, or the category: whose trials count. */
  readonly scope: string
}

/** Names the failure of a mission. `moduleId` is the module of the step that failed. */
export function missionOmen(outcome: MissionOutcome, moduleId: ModuleId | null): OmenSubject {
  const scope = moduleId ?? outcome.category
  const why = [outcome.error_code ?? 'FAILED', normalised(outcome.error_message ?? ''), outcome.step ?? '']
  return subject('mission_failed', moduleId, scope, why)
}

/** Names the crash or hang that a fact about a module tells. */
export function crashOmen({ type, d }: Fact, moduleId: ModuleId): OmenSubject {
  // Numbers leave the message, but an exit code is what tells one crash from another.
  const errorClass = ['how', 'exit_code', 'signal'].flatMap((name) => d[name] ?? []).join(' ')
  const why = [errorClass, normalised(textOf(d, 'reason') ?? ''), '']
  return subject(type === 'module.hung' ? 'hung' : 'crashed', moduleId, moduleId, why)
}

/** What two reports of the same failure have in common: lower case, no numbers, ids, addresses, one space. */
export function normalised(message: string): string {
  // Only the beginning: stacks and echoed input follow it.
  const [line = ''] = message.slice(0, 1_000).split('\n')
  const plain = withPlaceholders(line.replace(/\/[\w.@-]+(?:\/[\w.@-]+)+/g, ' <path> ').toLowerCase())
  return plain.replace(/\s+/g, ' ').trim().slice(0, MESSAGE_MAX)
}

function subject(
  kind: OmenKind,
  moduleId: ModuleId | null,
  scope: string,
  why: readonly string[],
): OmenSubject {
  return { key: [scope, kind, ...why].join('|'), kind, moduleId, scope }
}

/** Tells failures apart; longer ones differ in what they quote, not in what went wrong. */
const MESSAGE_MAX = 120
