import type { Fact } from '../contracts/fact.ts'
import { setDotted } from './dotted.ts'

/** What the journal knows of one module; survives restarts of the daemon. */
export interface ModuleMemory {
  desired?: 'running' | 'stopped'
  /** What `configure` changed. */
  config: Record<string, unknown>
  /** The last generation that settled. */
  lastGood?: string
  /** Generations that were reverted; not tried again unless named. */
  refused: { generation: string; phase: string; reason: string }[]
  /** Generations whose self-test passed. */
  tested: string[]
  invalidReason?: string
  /** The newest facts, oldest first: the chain `explain` shows. */
  recent: { at: string; seq: number; type: string; say: string }[]
}

/** Enough to tell how a module came to where it is; more is in the journal. */
const RECENT_MAX = 20
/** A generation older than this many refusals is not coming back unchanged. */
const GENERATIONS_MAX = 20

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
    if (!fact.type.startsWith('module.') || typeof moduleId !== 'string') return
    const memory = this.of(moduleId)
    memory.recent = [
      ...memory.recent.slice(1 - RECENT_MAX),
      { at: fact.ts, seq: fact.seq, type: fact.type, say: sayOf(fact) },
    ]
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
  'module.configured': (memory, d) => {
    memory.config = setDotted(memory.config, String(d['key']), d['value'])
  },
  'module.generation_accepted': (memory, d) => {
    memory.lastGood = String(d['generation'])
    memory.refused = memory.refused.filter(({ generation }) => generation !== memory.lastGood)
  },
  'module.rolled_back': (memory, d) => {
    if (typeof d['generation'] !== 'string') return
    const entry = { generation: d['generation'], phase: String(d['phase']), reason: String(d['reason']) }
    const others = memory.refused.filter(({ generation }) => generation !== entry.generation)
    memory.refused = [...others.slice(1 - GENERATIONS_MAX), entry]
  },
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

/** One sentence for a fact, in words an operator reads. */
function sayOf({ type, d }: Fact): string {
  const what = type.slice('module.'.length).replaceAll('_', ' ')
  const details = ['phase', 'reason', 'desired', 'key', 'how', 'restart', 'generation']
    .filter((name) => d[name] !== undefined)
    .map((name) => `${name} ${name === 'generation' ? String(d[name]).slice(0, 12) : String(d[name])}`)
  return details.length === 0 ? what : `${what}: ${details.join(', ')}`
}
