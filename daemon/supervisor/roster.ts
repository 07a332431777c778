import { startOrder } from '../catalog/catalog.ts'
import type { CatalogEntry } from '../catalog/port.ts'
import { NexusError } from '../contracts/failure.ts'
import type { Manifest } from '../contracts/manifest.ts'
import { didYouMean } from '../kit/nearest.ts'
import type { Need } from './needs.ts'
import type { SupervisorEnvironment } from './port.ts'
import type { Remembered } from './remembered.ts'
import { StartQueue } from './start-queue.ts'
import { Unit } from './unit.ts'
import { SUPERVISOR } from './unit-core.ts'

/** Every module that is known: one unit for each, the order in which they require one another, and who is told of whom. */
export class Roster {
  readonly #env: SupervisorEnvironment
  readonly #remembered: Remembered
  readonly #startQueue: StartQueue
  readonly #units = new Map<string, Unit>()
  /** By module, those that require it; and the manifests this was read from. */
  readonly #dependants = new Map<string, Set<string>>()
  readonly #indexed = new Map<string, Manifest>()

  constructor(env: SupervisorEnvironment, remembered: Remembered) {
    this.#env = env
    this.#remembered = remembered
    this.#startQueue = new StartQueue(env.clock, env.startsPerMinute)
  }

  get all(): readonly Unit[] {
    return [...this.#units.values()]
  }

  get(moduleId: string): Unit | undefined {
    return this.#units.get(moduleId)
  }

  /** @throws NexusError `MODULE_UNKNOWN` with the nearest name. */
  unit(moduleId: string): Unit {
    const unit = this.#units.get(moduleId)
    if (unit !== undefined) return unit
    const nearest = didYouMean(moduleId, this.#units.keys())
    throw new NexusError('MODULE_UNKNOWN', { module: moduleId, nearest })
  }

  /** Takes note of what a folder holds; facts only for what is new. */
  async learn(entry: CatalogEntry): Promise<Unit> {
    const { moduleId } = entry
    await this.#record(entry)
    let unit = this.#units.get(moduleId)
    if (unit === undefined) {
      unit = new Unit(moduleId, this.#env, () => this.#remembered.of(moduleId), {
        startQueue: this.#startQueue,
        needs: (requires) => requires.map((id) => this.#need(id)),
        changed: (changed) => {
          this.#tellDependants(changed)
          this.#env.changed(changed)
        },
      })
      this.#units.set(moduleId, unit)
    }
    unit.load(entry)
    return unit
  }

  /** It is no longer there: those that require it wait. */
  forget(unit: Unit): void {
    this.#units.delete(unit.id)
    this.#tellDependants(unit)
  }

  /** Everything that is known, each after what it requires. */
  order(): string[] {
    const requirements = this.all.map(({ id, manifest }) => ({
      moduleId: id,
      requires: manifest?.requires ?? [],
    }))
    return [...startOrder(requirements).order]
  }

  /** The reverse of it in groups, so that nobody stands in one group with what requires it. */
  waves(): string[][] {
    const ids = this.order().reverse()
    const grouped: string[][] = []
    const waveOf = new Map<string, number>()
    for (const id of ids) {
      const wave = Math.max(-1, ...this.dependants(id).map((other) => waveOf.get(other) ?? -1)) + 1
      waveOf.set(id, wave)
      grouped[wave] = [...(grouped[wave] ?? []), id]
    }
    return grouped
  }

  /** Those that require it themselves. */
  dependants(moduleId: string): readonly string[] {
    const listed = [...(this.#dependants.get(moduleId) ?? [])]
    // Manifests change; the index only ever grows, so that a change costs nothing.
    return listed.filter((id) => this.#units.get(id)?.manifest?.requires.includes(moduleId) === true)
  }

  #need(moduleId: string): Need {
    const unit = this.#units.get(moduleId)
    return { moduleId, state: unit?.state, awaySinceMs: unit?.awaySinceMs }
  }

  #tellDependants(changed: Unit): void {
    this.#index(changed)
    for (const id of this.dependants(changed.id)) this.#units.get(id)?.required()
  }

  #index({ id, manifest }: Unit): void {
    if (manifest === undefined || this.#indexed.get(id) === manifest) return
    this.#indexed.set(id, manifest)
    for (const required of manifest.requires) {
      const known = this.#dependants.get(required) ?? new Set<string>()
      this.#dependants.set(required, known.add(id))
    }
  }

  async #record(entry: CatalogEntry): Promise<void> {
    const { moduleId } = entry
    const { append, log } = this.#env
    const known = this.#remembered.known(moduleId)
    const { invalidReason } = this.#remembered.of(moduleId)
    if (entry.kind === 'invalid' && invalidReason !== entry.reason) {
      const d = { module_id: moduleId, file: entry.file, reason: entry.reason }
      await append({ type: 'module.invalid', actor: SUPERVISOR, d })
      log('error', `${moduleId} is invalid: ${entry.reason}`, { module: moduleId })
    }
    if (entry.kind === 'valid' && (!known || invalidReason !== undefined)) {
      const d = { module_id: moduleId, version: entry.manifest.version }
      await append({ type: 'module.discovered', actor: SUPERVISOR, d })
    }
  }
}
