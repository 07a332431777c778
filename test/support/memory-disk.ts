import { basename, dirname } from 'node:path'
import { type Chance, seededChance } from '../../daemon/kit/chance.ts'
import type { Disk, DiskEntry, DiskFile, OpenMode } from '../../daemon/storage/disk.ts'

/** One call that a fault may strike. */
export interface DiskCall {
  readonly op:
    | 'open'
    | 'read'
    | 'stat'
    | 'list'
    | 'create'
    | 'write'
    | 'datasync'
    | 'truncate'
    | 'rename'
    | 'unlink'
    | 'makeDir'
    | 'syncDir'
  readonly path: string
  /** Whether it changes or syncs something. */
  readonly isChange: boolean
  /** Counts the calls that do, from 1. */
  readonly n: number
}

/**
 * - `error`: the call fails, after `taken` bytes were written all the same.
 * - `taken`: a short write that says so.
 * - `crash`: the machine stops before or after the effect; no later call ever answers.
 */
export type Fault =
  | { readonly error: string; readonly taken?: number }
  | { readonly taken: number }
  | { readonly crash: 'before' | 'after' }

/** What a power cut leaves of what was not synced. */
export type CrashMode = 'nothing' | 'everything' | 'torn' | 'sectors'

const READS = new Set(['open', 'read', 'stat', 'list'])

/**
 * A disk in memory with two images: what a program sees, and what survives a power cut. Synced contents and names
 * survive; of the rest, a crash keeps what chance decides.
 */
export class MemoryDisk implements Disk {
  /** Strikes calls; undefined lets one pass. */
  fault: ((call: DiskCall) => Fault | undefined) | undefined
  /** Awaited before a change or a sync takes effect: lets a scheduler decide when. */
  gate: ((what: Pick<DiskCall, 'op' | 'path'>) => Promise<void> | undefined) | undefined
  readonly calls: string[] = []
  /** What `freeBytes` tells. */
  free = Number.MAX_SAFE_INTEGER
  #count = 0
  #isHalted = false
  #announceHalt: () => void = () => undefined
  /** Resolves at the crash, because nothing else does then. */
  readonly halted = new Promise<void>((resolve) => {
    this.#announceHalt = resolve
  })
  #names = new Map<string, Node>()
  #durableNames = new Map<string, Node>()
  /** Changes of names not yet synced, in order; a journaling file system keeps that order. */
  #pending: NameChange[] = []

  static withFolder(dir: string): MemoryDisk {
    const disk = new MemoryDisk()
    for (let path = dir; ; path = dirname(path)) {
      disk.#names.set(path, new Node('directory'))
      if (path === dirname(path)) break
    }
    disk.#durableNames = new Map(disk.#names)
    return disk
  }

  get count(): number {
    return this.#count
  }

  // What tests do from outside

  /** The bytes a program would read; empty when there is no such file. */
  contents(path: string): Buffer {
    return this.#names.get(path)?.seen.copy() ?? Buffer.alloc(0)
  }

  /** Puts a file there as if it had always been. */
  plant(path: string, contents: Uint8Array | string, kind: DiskEntry['kind'] = 'file'): void {
    const node = new Node(kind)
    node.seen.write(0, Buffer.from(contents))
    node.durable = node.seen.clone()
    this.#names.set(path, node)
    this.#durableNames.set(path, node)
  }

  remove(path: string): void {
    this.#names.delete(path)
    this.#durableNames.delete(path)
  }

  paths(): string[] {
    return [...this.#names]
      .filter(([, node]) => node.kind === 'file')
      .map(([path]) => path)
      .sort()
  }

  /** Nothing answers any more, as for a process that was killed. */
  halt(): void {
    this.#isHalted = true
    this.#announceHalt()
  }

  get isHalted(): boolean {
    return this.#isHalted
  }

  /** The disk after the process was killed: everything it did is there. */
  afterKill(): MemoryDisk {
    return this.afterCrash('everything', seededChance(0))
  }

  /** The same, but what was not synced yet still is not: a power cut may take it away later. */
  afterKillUnsynced(): MemoryDisk {
    this.halt()
    const next = new MemoryDisk()
    next.#names = this.#names
    next.#durableNames = this.#durableNames
    next.#pending = this.#pending
    return next
  }

  /** The disk after a power cut. This one is left as it is. */
  afterCrash(mode: CrashMode, chance: Chance): MemoryDisk {
    this.halt()
    const next = new MemoryDisk()
    const names = new Map(this.#durableNames)
    const kept =
      mode === 'everything'
        ? this.#pending.length
        : mode === 'nothing'
          ? 0
          : pick(chance, this.#pending.length + 1)
    for (const change of this.#pending.slice(0, kept)) change.apply(names)
    for (const [path, node] of names) next.#names.set(path, node.afterCrash(mode, chance))
    next.#durableNames = new Map(next.#names)
    return next
  }

  /** A copy in which everything is durable. */
  copy(): MemoryDisk {
    const next = new MemoryDisk()
    for (const [path, node] of this.#names)
      next.#names.set(path, node.afterCrash('everything', seededChance(0)))
    next.#durableNames = new Map(next.#names)
    return next
  }

  // The port

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    const isNew = !this.#names.has(path) && (mode === 'create' || mode === 'overwrite')
    return this.#call({ op: isNew ? 'create' : 'open', path }, () => {
      const there = this.#names.get(path)
      if (there !== undefined && mode === 'create') throw systemError('EEXIST', 'open')
      if (there === undefined && !isNew) throw systemError('ENOENT', 'open')
      if (there?.kind === 'directory') throw systemError('EISDIR', 'open')
      if (there !== undefined) return this.#fileOf(there, path, mode)
      this.#parentOf(path)
      const node = new Node('file')
      this.#change({ unsynced: new Set([dirname(path)]), apply: (names) => names.set(path, node) })
      return this.#fileOf(node, path, mode)
    })
  }

  async stat(path: string): Promise<DiskEntry | undefined> {
    return this.#call({ op: 'stat', path }, () => this.#names.get(path)?.entry())
  }

  async list(dir: string): Promise<string[]> {
    return this.#call({ op: 'list', path: dir }, () =>
      [...this.#names.keys()]
        .filter((path) => path !== dir && dirname(path) === dir)
        .map((path) => basename(path))
        .sort(),
    )
  }

  async makeDir(dir: string): Promise<boolean> {
    const there = this.#names.get(dir)
    if (there !== undefined) {
      if (there.kind !== 'directory') throw systemError('EEXIST', 'mkdir')
      return false
    }
    if (!this.#names.has(dirname(dir))) await this.makeDir(dirname(dir))
    return this.#call({ op: 'makeDir', path: dir }, () => {
      const node = new Node('directory')
      this.#change({ unsynced: new Set([dirname(dir)]), apply: (names) => names.set(dir, node) })
      return true
    })
  }

  async rename(from: string, to: string): Promise<void> {
    return this.#call({ op: 'rename', path: to }, () => {
      const node = this.#names.get(from)
      if (node === undefined) throw systemError('ENOENT', 'rename')
      this.#parentOf(to)
      const apply = (names: Map<string, Node>): void => {
        names.delete(from)
        names.set(to, node)
      }
      this.#change({ unsynced: new Set([dirname(from), dirname(to)]), apply })
    })
  }

  async unlink(path: string): Promise<void> {
    if (!this.#names.has(path)) return
    return this.#call({ op: 'unlink', path }, () => {
      this.#change({ unsynced: new Set([dirname(path)]), apply: (names) => names.delete(path) })
    })
  }

  async syncDir(dir: string): Promise<void> {
    return this.#call({ op: 'syncDir', path: dir }, () => {
      for (const change of this.#pending) change.unsynced.delete(dir)
      for (const change of this.#pending) if (change.unsynced.size === 0) change.apply(this.#durableNames)
      this.#pending = this.#pending.filter((change) => change.unsynced.size > 0)
    })
  }

  async freeBytes(dir: string): Promise<number> {
    return this.#call({ op: 'stat', path: dir }, () => this.free)
  }

  #parentOf(path: string): void {
    if (this.#names.get(dirname(path))?.kind !== 'directory') throw systemError('ENOENT', 'open')
  }

  #change(change: NameChange): void {
    change.apply(this.#names)
    this.#pending.push(change)
  }

  #fileOf(node: Node, path: string, mode: OpenMode): DiskFile {
    const call = this.#call.bind(this)
    return {
      write: (bytes, at) =>
        call({ op: 'write', path }, (fault) => {
          if (mode === 'read') throw systemError('EBADF', 'write')
          const taken = Math.min(fault?.taken ?? bytes.length, bytes.length)
          node.write(
            mode === 'overwrite' ? (at ?? 0) : node.seen.length,
            Buffer.from(bytes.subarray(0, taken)),
          )
          return taken
        }),
      read: (at, length) => call({ op: 'read', path }, () => node.seen.copy(at, at + length)),
      stat: () => call({ op: 'stat', path }, () => node.entry()),
      truncate: (sizeBytes) => call({ op: 'truncate', path }, () => node.truncate(sizeBytes)),
      datasync: () => call({ op: 'datasync', path }, () => node.sync()),
      close: async () => undefined,
    }
  }

  async #call<T>(what: Pick<DiskCall, 'op' | 'path'>, act: (fault?: { taken?: number }) => T): Promise<T> {
    const isChange = !READS.has(what.op)
    await (isChange ? this.gate?.(what) : undefined)
    if (this.#isHalted) return never()
    if (isChange) {
      this.#count += 1
      this.calls.push(`${what.op} ${what.path}`)
    }
    const fault = this.fault?.({ ...what, isChange, n: this.#count })
    if (fault === undefined) return act()
    if ('crash' in fault) {
      if (fault.crash === 'after') act()
      this.halt()
      return never()
    }
    if ('error' in fault) {
      if (fault.taken !== undefined) act({ taken: fault.taken })
      throw systemError(fault.error, what.op)
    }
    return act(fault)
  }
}

interface NameChange {
  /** Folders that must be synced before it is durable: a file that moves has two. */
  readonly unsynced: Set<string>
  readonly apply: (names: Map<string, Node>) => void
}

type Effect = { readonly at: number; readonly bytes: Buffer } | { readonly sizeBytes: number }

const SECTOR_BYTES = 512
let identities = 0

class Node {
  readonly kind: DiskEntry['kind']
  readonly identity: string
  seen = new Bytes()
  durable = new Bytes()
  #effects: Effect[] = []

  constructor(kind: DiskEntry['kind']) {
    this.kind = kind
    identities += 1
    this.identity = String(identities)
  }

  entry(): DiskEntry {
    const mode = this.kind === 'directory' ? 0o700 : 0o600
    return { kind: this.kind, sizeBytes: this.seen.length, identity: this.identity, mode }
  }

  write(at: number, bytes: Buffer): void {
    this.seen.write(at, bytes)
    this.#effects.push({ at, bytes })
  }

  truncate(sizeBytes: number): void {
    this.seen.truncate(sizeBytes)
    this.#effects.push({ sizeBytes })
  }

  sync(): void {
    for (const effect of this.#effects.splice(0)) perform(this.durable, effect)
  }

  afterCrash(mode: CrashMode, chance: Chance): Node {
    const node = new Node(this.kind)
    node.seen = this.durable.clone()
    if (mode === 'everything') for (const effect of this.#effects) perform(node.seen, effect)
    if (mode === 'torn') this.#tear(node.seen, chance)
    if (mode === 'sectors') this.#scatter(node.seen, chance)
    node.durable = node.seen.clone()
    return node
  }

  /** Some of the effects, the last of them in part. */
  #tear(image: Bytes, chance: Chance): void {
    const kept = pick(chance, this.#effects.length + 1)
    for (const [index, effect] of this.#effects.slice(0, kept).entries()) {
      const isLast = index === kept - 1 && 'bytes' in effect
      perform(
        image,
        isLast
          ? { at: effect.at, bytes: effect.bytes.subarray(0, pick(chance, effect.bytes.length + 1)) }
          : effect,
      )
    }
  }

  /** The size is new, but each sector that was written came through or did not: what is missing reads as zeros. */
  #scatter(image: Bytes, chance: Chance): void {
    for (const effect of this.#effects) {
      if (!('bytes' in effect)) {
        perform(image, effect)
        continue
      }
      const end = effect.at + effect.bytes.length
      image.grow(end)
      for (let at = effect.at; at < end; ) {
        const next = Math.min(end, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES)
        if (chance.next() < 0.6) image.write(at, effect.bytes.subarray(at - effect.at, next - effect.at))
        at = next
      }
    }
  }
}

function perform(image: Bytes, effect: Effect): void {
  if ('bytes' in effect) image.write(effect.at, effect.bytes)
  else image.truncate(effect.sizeBytes)
}

class Bytes {
  #buffer = EMPTY
  length = 0
  /** Up to here others look at the same memory, so it is not written to. */
  #shared = 0

  write(at: number, bytes: Buffer): void {
    this.#make(at + bytes.length, at)
    bytes.copy(this.#buffer, at)
    this.length = Math.max(this.length, at + bytes.length)
  }

  truncate(sizeBytes: number): void {
    this.#make(sizeBytes, Math.min(sizeBytes, this.length))
    this.#buffer.fill(0, sizeBytes)
    this.length = sizeBytes
  }

  grow(length: number): void {
    if (length <= this.length) return
    this.#make(length, this.length)
    this.length = length
  }

  copy(from = 0, to = this.length): Buffer {
    this.#shared = Math.max(this.#shared, Math.min(to, this.length))
    return this.#buffer.subarray(from, Math.min(to, this.length))
  }

  clone(): Bytes {
    const bytes = new Bytes()
    bytes.#buffer = this.#buffer.subarray(0, this.length)
    bytes.length = bytes.#shared = this.length
    this.#shared = Math.max(this.#shared, this.length)
    return bytes
  }

  /** Room for `length` bytes, of which those from `from` on may be written to. */
  #make(length: number, from: number): void {
    if (length <= this.#buffer.length && from >= this.#shared) return
    const buffer = Buffer.alloc(Math.max(length, this.length) * 2)
    this.#buffer.copy(buffer, 0, 0, this.length)
    this.#buffer = buffer
    this.#shared = 0
  }
}

const EMPTY = Buffer.alloc(0)

function pick(chance: Chance, below: number): number {
  return Math.floor(chance.next() * below)
}

function never<T>(): Promise<T> {
  return new Promise(() => undefined)
}

function systemError(code: string, syscall: string): Error {
  return Object.assign(new Error(`${code}: ${syscall}`), { code, syscall })
}
