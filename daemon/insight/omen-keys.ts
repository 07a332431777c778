import type { Fact, MissionOutcome } from '../contracts/fact.ts'
import type { ModuleId } from '../contracts/ids.ts'
import { textOf } from './facts.ts'
import { withPlaceholders } from './fingerprint.ts'

/** `slow` and `memory` are shifts, counted in minutes; `system` is one cause behind many of the others. */
export type OmenKind = 'mission_failed' | 'crashed' | 'hung' | 'slow' | 'memory' | 'system'

/** One way in which something fails again and again. */
export interface OmenSubject {
  readonly key: string
  readonly kind: OmenKind
  /** Null where no single module is to blame. */
  readonly moduleId: ModuleId | null
  /** The module, or the category: whose trials count. */
  readonly scope: string
  /** What happens, in words that follow a count: `failed with … at step …`. */
  readonly what: string
}

/** Names the failure of a mission. `moduleId` is the module of the step that failed. */
export function missionOmen(outcome: MissionOutcome, moduleId: ModuleId | null): OmenSubject {
  const scope = moduleId ?? outcome.category
  const { error_code: code = 'FAILED', step = '' } = outcome
  const message = normalised(outcome.error_message ?? '')
  const where = step === '' ? '' : ` at step ${step}`
  return subject(
    'mission_failed',
    moduleId,
    scope,
    [code, message, step],
    `failed with ${code}${where}: ${message}`,
  )
}

/** Names the crash or hang that a fact about a module tells. */
export function crashOmen({ type, d }: Fact, moduleId: ModuleId): OmenSubject {
  // Numbers leave the message, but an exit code is what tells one crash from another.
  const errorClass = ['how', 'exit_code', 'signal'].flatMap((name) => d[name] ?? []).join(' ')
  const message = normalised(textOf(d, 'reason') ?? '')
  const kind = type === 'module.hung' ? 'hung' : 'crashed'
  return subject(kind, moduleId, moduleId, [errorClass, message, ''], message || errorClass)
}

/** Names a shift of what is measured of a module: of one action, or of the whole. */
export function shiftOmen(kind: 'slow' | 'memory', moduleId: ModuleId, action = ''): OmenSubject {
  const what =
    kind === 'slow' ? `${action} takes longer than it used to` : 'it holds more memory than it used to'
  return subject(kind, moduleId, moduleId, ['', '', action], what)
}

/** Names what many modules suffer from at once. */
export function systemOmen(modules: number): OmenSubject {
  return subject(
    'system',
    null,
    'system',
    ['common_cause'],
    `${modules} modules began to fail within a minute`,
  )
}

/** Why a module is at a level, in one sentence. */
export function sentenceOf({ kind, what }: OmenSubject, count: number): string {
  const times = (one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`
  switch (kind) {
    case 'mission_failed':
      return `${times('mission')} ${what}`
    case 'crashed':
      return `${times('crashe').replace(/^1 crashe$/, '1 crash')}: ${what}`
    case 'hung':
      return `${times('hang')}: ${what}`
    case 'slow':
    case 'memory':
      return `for ${times('minute')} in a row ${what}`
    case 'system':
      return what
  }
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
  what: string,
): OmenSubject {
  return { key: [scope, kind, ...why].join('|'), kind, moduleId, scope, what }
}

/** Tells failures apart; longer ones differ in what they quote, not in what went wrong. */
const MESSAGE_MAX = 120
