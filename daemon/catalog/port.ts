import type { Issue } from '../contracts/failure.ts'
import type { GenerationId, ModuleId } from '../contracts/ids.ts'
import type { Manifest } from '../contracts/manifest.ts'

/** What one module folder holds right now. */
export type CatalogEntry =
  | {
      readonly kind: 'valid'
      readonly moduleId: ModuleId
      /** Absolute. */
      readonly folder: string
      readonly manifest: Manifest
    }
  | {
      readonly kind: 'invalid'
      readonly moduleId: ModuleId
      readonly folder: string
      /** The file at fault. */
      readonly file: string
      readonly issues: readonly Issue[]
      readonly reason: string
    }

/** An immutable copy of a module's folder under `data/generations/<group>/<name>/<id>/`. */
export interface Generation {
  readonly id: GenerationId
  readonly moduleId: ModuleId
  /** Real path. */
  readonly dir: string
  /** Real path of the entry file; empty for `exec`. */
  readonly entry: string
  readonly manifest: Manifest
}

/** What is on disk. Reads module folders, keeps generations, and tells when a folder has come to rest after a change. */
export interface ModuleCatalog {
  /** Looks at every folder; ids sorted. An id found twice is invalid at the second place. */
  scan(): Promise<readonly CatalogEntry[]>
  /** A fresh look at one module; undefined when its folder is gone. */
  look(moduleId: ModuleId): Promise<CatalogEntry | undefined>
  /**
   * Copies what the folder holds to a generation, synced, and returns it; the same content gives the same generation.
   *
   * @throws NexusError `MODULE_INVALID`, `GENERATION_REFUSED`, `MODULE_UNKNOWN`.
   */
  stage(moduleId: ModuleId): Promise<Generation>
  /**
   * What `stage` would give now, without writing anything.
   *
   * @throws NexusError as `stage`.
   */
  survey(moduleId: ModuleId): Promise<{ readonly id: GenerationId; readonly manifest: Manifest }>
  /** A generation kept from before, by its id. @throws NexusError `GENERATION_UNKNOWN` when it is gone or damaged. */
  kept(moduleId: ModuleId, id: GenerationId): Promise<Generation>
  /** Drops generations of a module that are not in `keep`. */
  prune(moduleId: ModuleId, keep: readonly GenerationId[]): Promise<void>
  /**
   * Tells of changes: `touched` at the first sign (a spare may boot meanwhile), `settled` once the folder has been
   * quiet for the quiet time. Whether the content differs is for `stage` to say.
   */
  watch(listener: { touched(moduleId: ModuleId): void; settled(moduleId: ModuleId): void }): Promise<void>
  close(): Promise<void>
}
