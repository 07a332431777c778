import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname, relative } from 'node:path'
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml'
import { type Fault, type Given, pointerOf } from './config-value.ts'
import { SETTINGS, type SettingName } from './contracts/config.ts'
import { NexusError } from './contracts/failure.ts'
import { didYouMean } from './kit/nearest.ts'
import { codeOf } from './storage/disk.ts'

/** No configuration a person writes is longer. */
const FILE_BYTES_MAX = 1_048_576
const ALIASES_MAX = 100

export interface ConfigFile {
  readonly given: readonly Given[]
  readonly faults: readonly Fault[]
}

/**
 * Reads a configuration file (YAML, or JSON when its name ends so) into settings, each with its line and column.
 *
 * @throws NexusError `CONFIG_INVALID` when it cannot be read at all.
 */
export async function readConfigFile(path: string, cwd: string): Promise<ConfigFile> {
  const text = await readText(path)
  const short = relative(cwd, path)
  const name = short.startsWith('..') ? path : short
  if (path.endsWith('.json') && text.trim() !== '') refuseLooseJson(text, name)

  const lines = new LineCounter()
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const placeAt = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${name}:${line}:${col}`
  }
  const broken = [...doc.errors, ...doc.warnings].map(({ pos, message }) => ({
    place: placeAt(pos[0]),
    pointer: '',
    detail: message,
  }))
  if (broken.length > 0) return { given: [], faults: broken }
  return new Walk(doc, dirname(path), placeAt).settings()
}

async function readText(path: string): Promise<string> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const stats = await handle.stat()
    if (!stats.isFile())
      throw unreadable(path, stats.isDirectory() ? 'is a folder, not a file' : 'is no plain file')
    if (stats.size > FILE_BYTES_MAX) throw unreadable(path, `has more than ${FILE_BYTES_MAX} bytes`)
    return new TextDecoder('utf-8', { fatal: true }).decode(await handle.readFile())
  } catch (error) {
    if (error instanceof NexusError) throw error
    if (error instanceof TypeError) throw unreadable(path, 'is not UTF-8 text', error)
    throw unreadable(
      path,
      codeOf(error) === 'ENOENT' ? 'is not there' : `cannot be read (${codeOf(error)})`,
      error,
    )
  } finally {
    await handle?.close()
  }
}

function unreadable(file: string, detail: string, cause?: unknown): NexusError {
  return new NexusError('CONFIG_INVALID', { file, detail }, { cause })
}

/** YAML would let comments and bare words through. */
function refuseLooseJson(text: string, name: string): void {
  try {
    JSON.parse(text)
  } catch (error) {
    throw unreadable(name, `is not JSON: ${error instanceof Error ? error.message : String(error)}`, error)
  }
}

class Walk {
  readonly #doc: Document
  readonly #base: string
  readonly #placeAt: (offset: number) => string
  readonly #given: Given[] = []
  readonly #faults: Fault[] = []

  constructor(doc: Document, base: string, placeAt: (offset: number) => string) {
    this.#doc = doc
    this.#base = base
    this.#placeAt = placeAt
  }

  settings(): ConfigFile {
    visit(this.#doc, {
      Pair: (_, { key }) => {
        if (isScalar(key) && key.value === '__proto__')
          this.#fault(key, '', '__proto__ is a key that no file may have')
      },
    })
    if (this.#faults.length === 0) this.#group(this.#doc.contents, '')
    return { given: this.#given, faults: this.#faults }
  }

  #group(written: unknown, prefix: string): void {
    const node = this.#follow(written)
    // `http:` with nothing behind it, or a file of comments.
    if (node === null || (isScalar(node) && node.value === null)) return
    if (!isMap(node)) {
      const what = prefix === '' ? 'the file' : prefix.slice(0, -1)
      this.#fault(node, prefix.slice(0, -1), `${what} must be settings as \`name: value\``)
      return
    }
    for (const { key, value } of node.items) {
      const name = `${prefix}${isScalar(key) ? String(key.value) : String(key)}`
      if (isSetting(name)) this.#setting(name, value, key)
      else if (isSection(name)) this.#group(value, `${name}.`)
      else this.#fault(key, name, `${name} is unknown${hintFor(name, prefix)}`)
    }
  }

  #setting(name: SettingName, written: unknown, key: unknown): void {
    const node = this.#follow(written)
    const value = this.#valueOf(node, name)
    // `tokens:` with nothing behind it.
    if (value === null && (SETTINGS[name].kind === 'tree' || SETTINGS[name].kind === 'paths')) return
    this.#given.push({
      name,
      value,
      origin: this.#placeOf(written ?? key),
      base: this.#base,
      placeOf: (pointer) => this.#placeOf(this.#inside(node, pointer) ?? written),
    })
  }

  #valueOf(node: Node | null, name: string): unknown {
    try {
      return node?.toJS(this.#doc, { maxAliasCount: ALIASES_MAX }) ?? null
    } catch (error) {
      // Aliases of aliases of aliases: a small file can mean terabytes.
      this.#fault(node, name, error instanceof Error ? error.message : String(error))
      return null
    }
  }

  /** The deepest node on the way to where a pointer points: what is missing has no place of its own. */
  #inside(from: Node | null, pointer: string): unknown {
    let node: Node | null = from
    let found: unknown = from
    for (const segment of pointer.split('/').slice(1)) {
      if (!isCollection(node)) break
      const name = segment.replaceAll('~1', '/').replaceAll('~0', '~')
      const pair = isMap(node)
        ? node.items.find(({ key }) => isScalar(key) && String(key.value) === name)
        : undefined
      const next = pair === undefined ? node.get(isMap(node) ? name : Number(name), true) : pair.key
      if (next === undefined) break
      found = next
      node = this.#follow(pair === undefined ? next : pair.value)
    }
    return found
  }

  #follow(written: unknown): Node | null {
    const node = written as Node | null
    return isAlias(node) ? (node.resolve(this.#doc) ?? null) : node
  }

  #fault(node: unknown, name: string, detail: string): void {
    this.#faults.push({ place: this.#placeOf(node), pointer: name === '' ? '' : pointerOf(name), detail })
  }

  #placeOf(node: unknown): string {
    return this.#placeAt((node as Node | null | undefined)?.range?.[0] ?? 0)
  }
}

const NAMES = Object.keys(SETTINGS)

function isSetting(name: string): name is SettingName {
  return Object.hasOwn(SETTINGS, name)
}

function isSection(name: string): boolean {
  return NAMES.some((known) => known.startsWith(`${name}.`))
}

/** The nearest name on this level, else a setting elsewhere with just this last word. */
function hintFor(name: string, prefix: string): string {
  const here = NAMES.filter((known) => known.startsWith(prefix)).map(
    (known) => `${prefix}${known.slice(prefix.length).split('.')[0]}`,
  )
  const last = name.split('.').at(-1) ?? name
  const elsewhere = NAMES.filter((known) => known.split('.').at(-1) === last)
  return elsewhere.length > 0 ? `; did you mean ${elsewhere.join(' or ')}?` : didYouMean(name, new Set(here))
}
