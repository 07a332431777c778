import type { Fact, FactDraft } from '../contracts/fact.ts'
import { setDotted } from './dotted.ts'

/** What the journal knows of one module; survives restarts of the daemon. */
export interface ModuleMemory {
  desired?: 'running' | 'stopped'
  /** How many instances an operator wants, whatever the manifest says. */
  replicas?: number
  /** What `configure` changed. */
  config: Record<string, unknown>
  /** The last generation that settled. */
  lastGood?: string
  /** Every generation that settled, each once, the last one last; bounded. */
  good?: string[]
  /** Generations that were reverted; not tried again unless named. */
  refused: { generation: string; phase: string; reason: string; to?: string }[]
  /** Generations whose self-test passed. */
  tested: string[]
  invalidReason?: string
  /** How the last instance that was lost by itself went, or did not come up. */
  lastLoss?: {
    readonly type: string
    readonly reason: string
    readonly blockedAt?: string
    readonly stack?: string
    readonly culprit?: string
  }
  /** The newest facts, oldest first: the chain `explain` shows. */
  recent: Recent[]
}

interface Recent {
  readonly at: string
  readonly seq: number
  readonly type: string
  readonly say: string
  /** More lines: the stack. */
  readonly detail?: string
}

/** What is known of a module, and how more of it is put on record. */
export interface Books {
  readonly memory: ModuleMemory
  /** Resolves once the fact is durable and folded. */
  append(draft: FactDraft): Promise<unknown>
}

/** Enough to tell how a module came to where it is; more is in the journal. */
const RECENT_MAX = 20
/** A generation older than this many refusals is not coming back unchanged. */
const GENERATIONS_MAX = 20

/** The phase of a refusal that is no failure: somebody went back to an older generation. */
export const ROLLED_BACK_BY_HAND = 'rollback'

/** Folds module facts; the supervisor asks, and never writes here itself. */
export class Remembered {
  #modules = new Map<string, ModuleMemory>()

  of(moduleId: string): ModuleMemory {
    let memory = this.#modules.get(moduleId)
    if (memory === undefined) {
      memory = { config: {}, refused: [], tested: [], recent: [] }
      this.#modules.set(moduleId, memory)
    }
    return memory
  }

  known(moduleId: string): boolean {
    return this.#modules.has(moduleId)
  }

  fold(fact: Fact): void {
    const moduleId = fact.d['module_id']
    const speaks = fact.type.startsWith('module.') || fact.type === 'omen.changed'
    if (!speaks || typeof moduleId !== 'string') return
    const memory = this.of(moduleId)
    memory.recent = [
      ...memory.recent.slice(1 - RECENT_MAX),
      { at: fact.ts, seq: fact.seq, type: fact.type, say: sayOf(fact), ...detailOf(fact) },
    ]
    if (LOSSES.has(fact.type)) memory.lastLoss = lossOf(fact)
    FOLDS[fact.type]?.(memory, fact.d)
  }

  save(): unknown {
    return Object.fromEntries(this.#modules)
  }

  load(saved: unknown): void {
    this.#modules = new Map(Object.entries(saved as Record<string, ModuleMemory>))
  }
}

type Body = Readonly<Record<string, unknown>>

const FOLDS: Readonly<Record<string, (memory: ModuleMemory, d: Body) => void>> = {
  'module.desired': (memory, d) => {
    memory.desired = d['desired'] === 'stopped' ? 'stopped' : 'running'
  },
  'module.scaled': (memory, d) => {
    memory.replicas = Number(d['replicas'])
  },
  'module.configured': (memory, d) => {
    memory.config = setDotted(memory.config, String(d['key']), d['value'])
  },
  'module.generation_accepted': (memory, d) => {
    const generation = String(d['generation'])
    const former = memory.good ?? [memory.lastGood ?? generation]
    memory.good = [...former.filter((known) => known !== generation).slice(1 - GENERATIONS_MAX), generation]
    memory.lastGood = generation
    // What somebody went back from may come again once something else was good.
    memory.refused = memory.refused.filter(
      (entry) =>
        entry.generation !== generation && (entry.phase !== ROLLED_BACK_BY_HAND || entry.to === generation),
    )
  },
  'module.rolled_back': refuse,
  'module.generation_refused': refuse,
  'module.self_tested': (memory, d) => {
    memory.tested = [...memory.tested.slice(1 - GENERATIONS_MAX), String(d['generation'])]
  },
  'module.invalid': (memory, d) => {
    memory.invalidReason = String(d['reason'])
  },
  'module.discovered': (memory) => {
    delete memory.invalidReason
  },
}

function refuse(memory: ModuleMemory, d: Body): void {
  if (typeof d['generation'] !== 'string') return
  const { phase, reason, to } = d
  const entry = { generation: d['generation'], phase: String(phase), reason: String(reason), to: String(to) }
  const others = memory.refused.filter(({ generation }) => generation !== entry.generation)
  memory.refused = [...others.slice(1 - GENERATIONS_MAX), entry]
  if (phase === ROLLED_BACK_BY_HAND) memory.good = memory.good?.filter((id) => id !== entry.generation) ?? []
}

const LOSSES: ReadonlySet<string> = new Set([
  'module.crashed',
  'module.hung',
  'module.displaced',
  'module.start_failed',
])

function lossOf({ type, d }: Fact): NonNullable<ModuleMemory['lastLoss']> {
  const { blocked_at: blockedAt, stack, culprit } = d
  return {
    type,
    reason: String(d['reason']),
    ...(typeof blockedAt === 'string' && { blockedAt }),
    ...(typeof stack === 'string' && { stack }),
    ...(typeof culprit === 'string' && { culprit }),
  }
}

/** The innermost frames tell where; all of them are in the journal. */
const DETAIL_LINES_MAX = 12

function detailOf({ d: { stack } }: Fact): { detail?: string } {
  if (typeof stack !== 'string' || stack === '') return {}
  return { detail: stack.split('\n').slice(0, DETAIL_LINES_MAX).join('\n') }
}

/** One sentence for a fact, in words an operator reads. */
function sayOf({ type, d }: Fact): string {
  if (type === 'omen.changed') return `${d['level']}, after ${d['previous']}: ${d['because'] ?? d['key']}`
  const what = type.slice('module.'.length).replaceAll('_', ' ')
  // A reason has the figure in its sentence.
  const told = d['reason'] === undefined ? d : { ...d, missing_ms: undefined }
  const details = Object.entries(SAY).flatMap(([name, say]) =>
    told[name] === undefined ? [] : [say(told[name])],
  )
  return details.length === 0 ? what : `${what}: ${details.join(', ')}`
}

const SAY: Readonly<Record<string, (value: unknown) => string>> = {
  instance: String,
  reason: String,
  missing_ms: (ms) => `no heartbeat for ${ms} ms`,
  phase: (phase) => `phase ${phase}`,
  desired: String,
  replicas: (count) => `to ${count}`,
  key: (key) => `key ${key}`,
  applied: String,
  generation: (id) => `generation ${String(id).slice(0, 12)}`,
}
