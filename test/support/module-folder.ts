import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** A manifest that is as short as one can be. */
export function manifestOf(id: string, more: object = {}): object {
  return { id, version: '1.0.0', description: 'a module of a test', ...more }
}

/** Writes a module folder below `dir`; `files` come on top of a manifest and an entry. Returns the folder. */
export function writeModule(
  dir: string,
  id: string,
  more: object = {},
  files: Readonly<Record<string, string>> = {},
): string {
  const folder = join(dir, id)
  const all = {
    'module.json': JSON.stringify(manifestOf(id, more)),
    'index.js': 'export default {}\n',
    ...files,
  }
  for (const [path, text] of Object.entries(all)) {
    const target = join(folder, path)
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, text)
  }
  chmodSync(folder, 0o755)
  return folder
}
