import { randomBytes } from 'node:crypto'
import type { CatalogEntry, Generation, ModuleCatalog } from '../../daemon/catalog/port.ts'
import type { Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { type Manifest, ManifestSchema } from '../../daemon/contracts/manifest.ts'
import type { ConfigChange } from '../../daemon/contracts/module.ts'
import type { CallOrder, Departure, HostPool, Instance, SpawnOrder } from '../../daemon/host/port.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { checker } from '../../daemon/kit/schema.ts'
import type { SupervisorEnvironment } from '../../daemon/supervisor/port.ts'
import { FakePorts } from './fake-ports.ts'
import { TestClock } from './test-clock.ts'

const asManifest = checker<Manifest>(ManifestSchema, { defaults: true })

/** What the code of one generation does when it runs. */
export interface FakeCode {
  readonly start?: (order: SpawnOrder) => Promise<void>
  readonly action?: (order: CallOrder) => Promise<unknown>
  readonly health?: () => Promise<{ status: 'healthy' | 'degraded' | 'unhealthy'; reason?: string }>
  readonly configure?: (order: SpawnOrder, change: ConfigChange) => Promise<'applied' | 'needs-reload'>
  readonly snapshot?: (instance: string) => Promise<unknown>
  readonly halt?: (instance: string) => Promise<void>
}

/** One running fake instance; the test ends it when it likes. */
export class FakeInstance implements Instance {
  readonly id: string
  readonly generation: string
  readonly pid = 1
  readonly isolation = 'none'
  readonly actions = ['work']
  readonly has: Instance['has']
  readonly stats = { heartbeat: undefined, cpuPercent: 0, restless: undefined, calls: 0, inFlight: 0 }
  readonly gone: Promise<Departure>
  readonly order: SpawnOrder
  halted = false
  readonly #code: FakeCode
  #leave: (departure: Departure) => void = () => {}
  #cut: (error: Error) => void = () => {}
  readonly #cutting: Promise<never>

  constructor(order: SpawnOrder, code: FakeCode) {
    this.order = order
    this.id = order.instance
    this.generation = order.generation
    this.#code = code
    const { health, configure, snapshot } = code
    this.has = { health: !!health, configure: !!configure, snapshot: !!snapshot }
    this.gone = new Promise((resolve) => {
      this.#leave = resolve
    })
    this.#cutting = new Promise((_, reject) => {
      this.#cut = reject
    })
    this.#cutting.catch(() => {})
  }

  async start(): Promise<void> {
    await this.#code.start?.(this.order)
  }

  async call(order: CallOrder): Promise<{ output: unknown; cpuMs: number }> {
    const output = await Promise.race([this.#code.action?.(order), this.#cutting])
    return { output, cpuMs: 1 }
  }

  health(): Promise<{ status: 'healthy' | 'degraded' | 'unhealthy'; reason?: string }> {
    return this.#code.health?.() ?? Promise.resolve({ status: 'healthy' })
  }

  configure(change: ConfigChange): Promise<'applied' | 'needs-reload'> {
    return this.#code.configure?.(this.order, change) ?? Promise.resolve('needs-reload')
  }

  snapshot(): Promise<unknown> {
    return this.#code.snapshot?.(this.id) ?? Promise.resolve(undefined)
  }

  async halt(): Promise<void> {
    await this.#code.halt?.(this.id)
    this.halted = true
    this.leave({ how: 'halted' })
  }

  kill(because: string): void {
    this.leave({ how: 'killed', because })
  }

  /** The process ends. */
  leave(departure: Departure): void {
    this.#cut(new NexusError('CALL_CUT', { module: this.order.moduleId, action: 'any' }))
    this.#leave(departure)
  }
}

export const CRASH: Departure = { how: 'exited', exitCode: 1, signal: null }

/** A module folder, hosts and a journal in memory: everything a supervisor stands on. */
export class FakeWorld {
  readonly clock = new TestClock()
  readonly ports = new FakePorts()
  /** What modules said, and what was said about them in their logs. */
  readonly lines: { readonly level: string; readonly message: string; readonly fields?: object }[] = []
  readonly facts: Fact[] = []
  readonly instances: FakeInstance[] = []
  readonly bugs: unknown[] = []
  readonly code = new Map<string, FakeCode>()
  readonly #folders = new Map<string, { manifest: Manifest; generation: string }>()
  readonly #spoiled = new Map<string, string>()
  readonly #kept = new Map<string, Generation>()
  readonly #listeners: ((fact: Fact) => void)[] = []
  touched: (moduleId: string) => void = () => {}
  settled: (moduleId: string) => void = () => {}

  /** Writes a module to the fake disk. */
  save(moduleId: string, generation: string, code: FakeCode, manifest: Record<string, unknown> = {}): void {
    const checked = asManifest({ id: moduleId, version: '1.0.0', description: 'a module', ...manifest })
    if (!checked.ok) throw new Error(JSON.stringify(checked.issues))
    this.#folders.set(moduleId, { manifest: checked.value, generation })
    this.code.set(generation, code)
  }

  remove(moduleId: string): void {
    this.#folders.delete(moduleId)
    this.#spoiled.delete(moduleId)
  }

  /** Writes a module.json that is wrong. */
  spoil(moduleId: string, reason: string): void {
    this.#spoiled.set(moduleId, reason)
  }

  onFact(listener: (fact: Fact) => void): void {
    this.#listeners.push(listener)
  }

  /** Instances that run now. */
  get running(): FakeInstance[] {
    return this.instances.filter(({ halted }) => !halted)
  }

  types(prefix = 'module.'): string[] {
    return this.facts.map(({ type }) => type).filter((type) => type.startsWith(prefix))
  }

  environment(more: Partial<SupervisorEnvironment> = {}): SupervisorEnvironment {
    return {
      catalog: this.#catalog(),
      hosts: this.#hosts(),
      ports: this.ports,
      clock: this.clock,
      chance: seededChance(1),
      append: (draft) => this.#append(draft),
      keep: (bytes) => Promise.resolve({ sha256: randomBytes(32).toString('hex'), bytes: bytes.byteLength }),
      command: () => Promise.resolve({}),
      said: (_, __, line) => this.lines.push(line),
      measured: () => {},
      changed: () => {},
      log: () => {},
      onBug: (error) => this.bugs.push(error),
      overrides: {},
      roots: [],
      records: {
        missions: '',
        mission_segments: '',
        journal: '',
        segments: '',
        telemetry: '',
        runtime_metrics: '',
        generations: '',
        artifacts: '',
        quarantine: '',
      },
      makeDataDir: (moduleId) => Promise.resolve(`/data/${moduleId}`),
      dataDirOf: (moduleId) => `/data/${moduleId}`,
      startsPerMinute: 20,
      ...more,
    }
  }

  async #append(draft: FactDraft): Promise<Fact> {
    const seq = this.facts.length + 1
    const fact: Fact = { v: 1, seq, b: seq, ts: new Date(this.clock.now()).toISOString(), h: '', ...draft }
    this.facts.push(fact)
    for (const listener of this.#listeners) listener(fact)
    return fact
  }

  #entry(moduleId: string): CatalogEntry | undefined {
    const reason = this.#spoiled.get(moduleId)
    if (reason !== undefined) {
      const folder = `/modules/${moduleId}`
      return { kind: 'invalid', moduleId, folder, file: `${folder}/module.json`, reason, issues: [] }
    }
    const folder = this.#folders.get(moduleId)
    if (folder === undefined) return undefined
    return { kind: 'valid', moduleId, folder: `/modules/${moduleId}`, manifest: folder.manifest }
  }

  #catalog(): ModuleCatalog {
    return {
      scan: async () =>
        [...this.#folders.keys(), ...this.#spoiled.keys()].flatMap((id) => this.#entry(id) ?? []),
      look: async (moduleId) => this.#entry(moduleId),
      stage: async (moduleId) => {
        const folder = this.#folders.get(moduleId)
        if (folder === undefined) throw new NexusError('MODULE_UNKNOWN', { module: moduleId })
        const generation: Generation = {
          id: folder.generation,
          moduleId,
          dir: '/g',
          entry: '/g/index.js',
          manifest: folder.manifest,
        }
        this.#kept.set(folder.generation, generation)
        return generation
      },
      survey: async (moduleId) => {
        const folder = this.#folders.get(moduleId)
        if (folder === undefined) throw new NexusError('MODULE_UNKNOWN', { module: moduleId })
        return { id: folder.generation, manifest: folder.manifest }
      },
      kept: async (moduleId, id) => {
        const generation = this.#kept.get(id)
        if (generation === undefined)
          throw new NexusError('GENERATION_UNKNOWN', { module: moduleId, generation: id })
        return generation
      },
      prune: async () => {},
      watch: async (listener) => {
        this.touched = (moduleId) => listener.touched(moduleId)
        this.settled = (moduleId) => listener.settled(moduleId)
      },
      close: async () => {},
    }
  }

  #hosts(): HostPool {
    return {
      isolation: 'none',
      prepare: () => {},
      close: async () => {},
      spawn: async (order) => {
        const instance = new FakeInstance(order, this.code.get(order.generation) ?? {})
        this.instances.push(instance)
        void instance.gone.then(() => {
          instance.halted = true
        })
        return instance
      },
    }
  }
}
