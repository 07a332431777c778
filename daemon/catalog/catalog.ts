import { mkdir, realpath } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import { type GenerationId, MODULE_ID_PATTERN, type ModuleId } from '../contracts/ids.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { Clock } from '../kit/clock.ts'
import { didYouMean } from '../kit/nearest.ts'
import {
  findGeneration,
  type GenerationRules,
  type KeptTree,
  makeGeneration,
  pruneGenerations,
  surveyGeneration,
  untilQuiet,
} from './generation.ts'
import { invalidEntry, MANIFEST_NAME, readManifest } from './manifest.ts'
import type { CatalogEntry, Generation, ModuleCatalog } from './port.ts'
import { cycleThrough, type Requirement, startOrder } from './requires.ts'
import { trustedOwners } from './safe-file.ts'
import { lookAt, type ScanRules, scanModules } from './scan.ts'
import { pruneStripped, stripGeneration } from './stripped.ts'
import { Stripper } from './stripper.ts'
import type { TreeFile } from './tree.ts'
import { type WatchListener, type WatchOptions, watchModules } from './watch.ts'

export interface CatalogOptions {
  /** Folders with modules; the first that holds an id wins. */
  readonly dirs: readonly string[]
  /** Where generations are kept; made when missing. */
  readonly generationsDir: string
  readonly clock: Clock
  /** How long a folder must be quiet before a change counts as finished. */
  readonly quietMs: number
  readonly log: CatalogLog
}

type CatalogLog = (level: 'info' | 'warn', message: string, facts: Readonly<Record<string, string>>) => void

/** Opens the folders with modules. Nothing is read before it is asked for. */
export async function openCatalog(options: CatalogOptions): Promise<ModuleCatalog> {
  await mkdir(options.generationsDir, { recursive: true, mode: 0o700 })
  const generationsDir = await realpath(options.generationsDir)
  const dirs = [...new Set(options.dirs.map((dir) => resolve(dir)))]
  return new FolderCatalog({ ...options, dirs, generationsDir }, await trustedOwners())
}

/** The order in which modules start, and who waits for whom: for whoever starts them. */
export { startOrder }

const ID = new RegExp(MODULE_ID_PATTERN)
/** A group-writable folder is told once, not at every save. */
const WARNINGS_MAX = 1_000

class FolderCatalog implements ModuleCatalog {
  readonly #scanRules: ScanRules
  readonly #generationRules: GenerationRules
  readonly #warned = new Set<string>()
  /** What every valid module requires, as far as was looked: cycles are made of several modules. */
  #requirements = new Map<ModuleId, Requirement>()
  /** Works on the generations of one module, one after the other. */
  readonly #turns = new Map<ModuleId, Promise<unknown>>()
  readonly #watchRules: WatchOptions
  readonly #unwatch: (() => Promise<void>)[] = []
  readonly #stripper: Stripper
  /** Modules that hold TypeScript. */
  readonly #scripted = new Set<ModuleId>()

  constructor(options: CatalogOptions, owners: ReadonlySet<number>) {
    const { dirs, generationsDir, clock, log } = options
    const warn: ScanRules['warn'] = (message, facts) => {
      const key = JSON.stringify([message, facts])
      if (this.#warned.has(key) || this.#warned.size >= WARNINGS_MAX) return
      this.#warned.add(key)
      log('warn', message, facts)
    }
    const closedDir = dirname(generationsDir)
    this.#scanRules = { dirs, owners, warn, closedDir }
    this.#generationRules = { generationsDir, clock, owners, quietMs: options.quietMs }
    this.#stripper = new Stripper(clock)
    this.#watchRules = { dirs, clock, quietMs: options.quietMs, warn, closedDir }
  }

  async scan(): Promise<readonly CatalogEntry[]> {
    const entries = await scanModules(this.#scanRules)
    this.#requirements = new Map(entries.flatMap((entry) => requirementOf(entry)))
    const { cycleOf } = startOrder(this.#requirements.values())
    return entries.map((entry) => withCycle(entry, cycleOf.get(entry.moduleId)))
  }

  async look(moduleId: ModuleId): Promise<CatalogEntry | undefined> {
    const entry = await lookAt(moduleId, this.#scanRules)
    this.#requirements.delete(moduleId)
    if (entry === undefined) return undefined
    for (const [id, requirement] of requirementOf(entry)) this.#requirements.set(id, requirement)
    return withCycle(entry, cycleThrough(moduleId, this.#requirements))
  }

  stage(moduleId: ModuleId): Promise<Generation> {
    return this.#inTurn(moduleId, async () => {
      const { folder } = await this.#restingEntry(moduleId)
      return this.#describe(moduleId, await makeGeneration(moduleId, folder, this.#generationRules))
    })
  }

  survey(moduleId: ModuleId): Promise<{ readonly id: GenerationId; readonly manifest: Manifest }> {
    return this.#inTurn(moduleId, async () => {
      const { folder, manifest } = await this.#restingEntry(moduleId)
      return { id: await surveyGeneration(moduleId, folder, this.#generationRules), manifest }
    })
  }

  kept(moduleId: ModuleId, id: GenerationId): Promise<Generation> {
    return this.#inTurn(moduleId, async () => {
      return this.#describe(moduleId, await findGeneration(moduleId, id, this.#generationRules))
    })
  }

  prune(moduleId: ModuleId, keep: readonly GenerationId[]): Promise<void> {
    return this.#inTurn(moduleId, async () => {
      const { generationsDir } = this.#generationRules
      await pruneGenerations(moduleId, keep, generationsDir)
      await pruneStripped(moduleId, keep, generationsDir)
    })
  }

  async watch(listener: WatchListener): Promise<void> {
    const touched = (moduleId: ModuleId): void => {
      // It boots while the folder comes to rest.
      if (this.#scripted.has(moduleId)) this.#stripper.warm()
      listener.touched(moduleId)
    }
    const settled = (moduleId: ModuleId): void => listener.settled(moduleId)
    this.#unwatch.push(await watchModules(this.#watchRules, { touched, settled }))
  }

  async close(): Promise<void> {
    await Promise.all(this.#unwatch.splice(0).map((unwatch) => unwatch()))
    await Promise.all(this.#turns.values())
    await this.#stripper.close()
  }

  /** The folder once it is quiet: the manifest, too, may be half of a save. */
  async #restingEntry(moduleId: ModuleId): Promise<CatalogEntry & { kind: 'valid' }> {
    for (const dir of this.#scanRules.dirs) await untilQuiet(resolve(dir, moduleId), this.#generationRules)
    const entry = await this.look(moduleId)
    if (entry === undefined) {
      const hint = didYouMean(moduleId, this.#requirements.keys())
      throw new NexusError('MODULE_UNKNOWN', { module: moduleId, nearest: hint })
    }
    refuseInvalid(entry)
    return entry
  }

  /** What runs is what was hashed: manifest and entry are those of the copy. */
  async #describe(moduleId: ModuleId, { id, dir, files }: KeptTree): Promise<Generation> {
    const found = await readManifest(moduleId, dir, this.#scanRules)
    refuseInvalid(found)
    const { manifest } = found
    const entry = manifest.entry === undefined ? '' : await realpath(resolve(dir, manifest.entry))
    await this.#strip(moduleId, id, dir, files)
    return { id, moduleId, dir, entry, manifest }
  }

  /** Without the copies hosts strip for themselves, so a failure costs memory and nothing else. */
  async #strip(moduleId: ModuleId, id: GenerationId, dir: string, files: readonly TreeFile[]): Promise<void> {
    if (files.some(({ sha256 }) => sha256 !== undefined)) this.#scripted.add(moduleId)
    else this.#scripted.delete(moduleId)
    try {
      await stripGeneration(moduleId, id, dir, files, {
        generationsDir: this.#generationRules.generationsDir,
        strip: (code) => this.#stripper.strip(code),
      })
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#scanRules.warn('TypeScript is stripped in each host', { module: moduleId, reason })
    }
  }

  async #inTurn<T>(moduleId: ModuleId, work: () => Promise<T>): Promise<T> {
    // The id becomes a path.
    if (!ID.test(moduleId)) throw new NexusError('MODULE_UNKNOWN', { module: moduleId, nearest: '' })
    const before = this.#turns.get(moduleId) ?? Promise.resolve()
    const mine = before.then(work, work)
    // A turn that failed is its caller's business; the next one only waits for it.
    const ended = mine.catch(() => undefined)
    this.#turns.set(moduleId, ended)
    try {
      return await mine
    } finally {
      if (this.#turns.get(moduleId) === ended) this.#turns.delete(moduleId)
    }
  }
}

function requirementOf(entry: CatalogEntry): [ModuleId, Requirement][] {
  if (entry.kind === 'invalid') return []
  const { moduleId, manifest } = entry
  return [[moduleId, { moduleId, requires: manifest.requires }]]
}

function withCycle(entry: CatalogEntry, cycle: readonly ModuleId[] | undefined): CatalogEntry {
  if (cycle === undefined || entry.kind === 'invalid') return entry
  const detail = `form a circle: ${cycle.join(' → ')}; take one of them out`
  const file = resolve(entry.folder, MANIFEST_NAME)
  return invalidEntry(entry.moduleId, entry.folder, file, [{ pointer: '/requires', detail }])
}

function refuseInvalid(entry: CatalogEntry): asserts entry is CatalogEntry & { kind: 'valid' } {
  if (entry.kind === 'valid') return
  const { moduleId, reason, file, issues } = entry
  throw new NexusError('MODULE_INVALID', { module: moduleId, reason, file }, { issues })
}
