import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { join, relative } from 'node:path'
import { type FSWatcher, watch } from 'chokidar'
import type { ModuleId } from '../contracts/ids.ts'
import type { Clock } from '../kit/clock.ts'
import { codeOf } from '../storage/disk.ts'
import { isIgnored } from './ignored.ts'
import { mapSome } from './map-some.ts'
import { isModuleId, modulesIn } from './modules-in.ts'
import { hasTurned, isSamePlace, type Place, placeOf, watchNames } from './place.ts'
import { Quiet } from './quiet.ts'
import { folderStamp } from './stamp.ts'

/** Group, name, and eight folders of the module's own: each watched folder costs the system a handle. */
const DEPTH_MAX = 10
/**
 * The kernel keeps 16,384 events for us and drops what comes then, and libuv does not say so. So many at once are
 * taken for a sign that some were dropped.
 */
const FLOOD_EVENTS = 4_096
/** Looks at folders while others wait for the disk, too. */
const LOOKS_AT_ONCE = 4

export interface WatchOptions {
  /** Absolute. */
  readonly dirs: readonly string[]
  readonly clock: Clock
  readonly quietMs: number
  /** The daemon's own folder: whatever it writes there is no change of a module. Real path. */
  readonly closedDir: string
  warn(message: string, facts: Readonly<Record<string, string>>): void
}

export interface WatchListener {
  touched(moduleId: ModuleId): void
  settled(moduleId: ModuleId): void
}

/**
 * Watches folders of modules and tells which module was touched, and when it has come to rest.
 *
 * Once this resolves nothing escapes it. To miss nothing, watch first and scan then.
 *
 * @returns Ends the watch; nothing is told once it was called.
 */
export async function watchModules(
  options: WatchOptions,
  listener: WatchListener,
): Promise<() => Promise<void>> {
  const net = new Net(options, listener)
  try {
    await net.open()
  } catch (error) {
    await net.close()
    throw error
  }
  return () => net.close()
}

/**
 * One watcher for each folder with modules, and a net under them: the stamp of every module as it was last seen.
 * Where events may have been lost (a flood, an error of the watcher) or the folder itself was exchanged, all stamps are
 * taken again, and what differs is a change. That needs no clock and no polling.
 */
class Net {
  readonly #options: WatchOptions
  readonly #modules: Quiet<ModuleId>
  /** Folders with modules that may be other folders than before, or of which events may have been lost. */
  readonly #upset: Quiet<string>
  readonly #opened = new Map<string, Opened>()
  /** Of each module the stamp that it had when it was last looked at. */
  readonly #seen = new Map<ModuleId, string>()
  /** Folders with modules of which events may have been lost. */
  readonly #lost = new Set<string>()
  #recovered = Promise.resolve()
  #closed = false

  constructor(options: WatchOptions, listener: WatchListener) {
    const { clock, quietMs } = options
    this.#options = options
    this.#modules = new Quiet({
      clock,
      quietMs,
      stamp: (moduleId) => this.#stamp(moduleId),
      touched: (moduleId) => listener.touched(moduleId),
      settled: (moduleId, stamp) => {
        this.#seen.set(moduleId, stamp)
        listener.settled(moduleId)
      },
    })
    this.#upset = new Quiet({
      clock,
      quietMs,
      stamp: async (dir) => JSON.stringify(await placeOf(dir)),
      touched: () => {},
      settled: (dir) => {
        // One after the other. They reject only for bugs, which must not pass.
        this.#recovered = this.#recovered.then(() => this.#recover(dir))
      },
    })
  }

  async open(): Promise<void> {
    for (const dir of this.#options.dirs) await this.#open(dir)
    // The first stamps are taken beside the start: until one is there, its module counts as changed.
    void this.#learn()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#modules.close()
    this.#upset.close()
    await this.#recovered
    await Promise.all([...this.#opened.values()].map((opened) => closeOne(opened)))
    this.#opened.clear()
  }

  async #open(dir: string): Promise<void> {
    const place = await placeOf(dir)
    const { ids } = await modulesIn(dir)
    const lost = (): void => {
      this.#lost.add(dir)
      this.#upset.note(dir)
    }
    const opened: Opened = {
      dir,
      place,
      known: new Set([...(this.#opened.get(dir)?.known ?? []), ...ids]),
      watcher: startWatcher(dir, lost, this.#options),
      unanchor: watchNames(dir, place, () => this.#upset.note(dir)),
    }
    this.#opened.set(dir, opened)
    opened.watcher.on('all', (_, path) => this.#heard(opened, path))
    await new Promise<void>((resolve) => opened.watcher.once('ready', resolve))
  }

  #heard({ dir, known }: Opened, path: string): void {
    const [group = '', name, inner] = relative(dir, path).split('/')
    // It may be a link, and a way to modules that nobody watches yet.
    if (inner === undefined) this.#upset.note(dir)
    if (name !== undefined) this.#note(known, `${group}/${name}`)
    // Nobody waits for the look, which rejects only for bugs.
    else void this.#noteGroup(dir, known, group)
  }

  /** A whole group came or went, perhaps a link: whatever is or was in it may be another module now. */
  async #noteGroup(dir: string, known: Set<ModuleId>, group: string): Promise<void> {
    const { ids } = await modulesIn(dir)
    for (const moduleId of new Set([...known, ...ids])) {
      if (group === '' || moduleId.startsWith(`${group}/`)) this.#note(known, moduleId)
    }
  }

  #note(known: Set<ModuleId>, moduleId: string): void {
    if (!isModuleId(moduleId)) return
    known.add(moduleId)
    this.#modules.note(moduleId)
  }

  /** After the dust has settled: watches what is there now, and looks whether anything escaped. */
  async #recover(dir: string): Promise<void> {
    const opened = this.#opened.get(dir)
    if (opened === undefined || this.#closed) return
    const place = await placeOf(dir)
    const turned = hasTurned(opened.place, place)
    if (turned) {
      await closeOne(opened)
      if (this.#closed) return
      await this.#open(dir)
    } else if (!isSamePlace(opened.place, place)) {
      opened.unanchor()
      opened.unanchor = watchNames(dir, place, () => this.#upset.note(dir))
      opened.place = place
    }
    if (this.#lost.delete(dir) || turned) await this.#sweep(dir)
  }

  /** Compares every module with what was seen of it last. */
  async #sweep(dir: string): Promise<void> {
    const known = this.#opened.get(dir)?.known ?? new Set()
    const { ids } = await modulesIn(dir)
    await mapSome([...new Set([...known, ...ids])], LOOKS_AT_ONCE, async (moduleId) => {
      if (this.#closed || this.#seen.get(moduleId) === (await this.#stamp(moduleId))) return
      this.#note(known, moduleId)
    })
  }

  async #learn(): Promise<void> {
    const ids = new Set([...this.#opened.values()].flatMap(({ known }) => [...known]))
    await mapSome([...ids], LOOKS_AT_ONCE, async (moduleId) => {
      if (this.#closed || this.#seen.has(moduleId)) return
      const stamp = await this.#stamp(moduleId)
      if (!this.#seen.has(moduleId)) this.#seen.set(moduleId, stamp)
    })
  }

  /** Of all the places where a module of this id may lie: any of them may be the one that counts. */
  async #stamp(moduleId: ModuleId): Promise<string> {
    const stamps = await Promise.all(this.#options.dirs.map((dir) => folderStamp(join(dir, moduleId))))
    return createHash('sha256').update(JSON.stringify(stamps)).digest('base64')
  }
}

interface Opened {
  readonly dir: string
  /** Everything that is or was there. */
  readonly known: Set<ModuleId>
  readonly watcher: FSWatcher
  /** What the names stood for when they were last looked at. */
  place: Place
  unanchor: () => void
}

/** @param lost - Some events may not have come. */
function startWatcher(dir: string, lost: () => void, { closedDir, warn }: WatchOptions): FSWatcher {
  const closed = join(dir, relative(realOf(dir), closedDir))
  const watcher = watch(dir, {
    ignored: (path, stats) => path === closed || isIgnored(dir, path, stats),
    ignoreInitial: true,
    depth: DEPTH_MAX,
    // One change told twice does no harm here, and we have a quiet time of our own.
    atomic: false,
    persistent: false,
  })
  let events = 0
  watcher.on('raw', () => {
    events += 1
    // What comes before the loop turns came from one reading of the kernel's queue.
    if (events === 1) setImmediate(() => (events = 0)).unref()
    if (events === FLOOD_EVENTS) lost()
  })
  watcher.on('error', (error) => {
    lost()
    const hint = codeOf(error) === 'ENOSPC' ? '; raise fs.inotify.max_user_watches' : ''
    warn(`changes in a modules folder may go unnoticed until \`nexus reload\`${hint}`, {
      dir,
      error: error instanceof Error ? error.message : String(error),
    })
  })
  return watcher
}

/** Itself when it is not there, or cannot be told. */
function realOf(dir: string): string {
  try {
    return realpathSync(dir)
  } catch (error) {
    if (codeOf(error) === '') throw error
    return dir
  }
}

async function closeOne({ watcher, unanchor }: Opened): Promise<void> {
  unanchor()
  await watcher.close()
}
