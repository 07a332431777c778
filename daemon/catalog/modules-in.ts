import type { Dirent } from 'node:fs'
import { join } from 'node:path'
import { MODULE_ID_PATTERN, type ModuleId } from '../contracts/ids.ts'
import { codeOf } from '../storage/disk.ts'
import { entriesOf } from './entries.ts'

/** As many as a scan looks at. */
const NAMES_MAX = 10_000
const ID = new RegExp(MODULE_ID_PATTERN)

/** Whether a text is the id of a module, and so may become a path. */
export function isModuleId(text: string): text is ModuleId {
  return ID.test(text)
}

export interface ModulesIn {
  /** Of what lies two folders deep under a proper name, whatever it holds. */
  readonly ids: readonly ModuleId[]
  /** Absolute paths of groups and modules that are links. */
  readonly links: readonly string[]
}

/** What names there are in a folder with modules. Never rejects for what a file system can do. */
export async function modulesIn(dir: string): Promise<ModulesIn> {
  const ids: ModuleId[] = []
  const links: string[] = []
  for (const group of await thereIn(dir)) {
    const folder = join(dir, group.name)
    if (group.isSymbolicLink()) links.push(folder)
    for (const entry of await thereIn(folder)) {
      const id = `${group.name}/${entry.name}`
      if (!isModuleId(id)) continue
      ids.push(id)
      if (entry.isSymbolicLink()) links.push(join(dir, id))
    }
  }
  return { ids, links }
}

async function thereIn(folder: string): Promise<Dirent[]> {
  try {
    return await entriesOf(folder, NAMES_MAX)
  } catch (error) {
    if (codeOf(error) === '') throw error
    return []
  }
}
