import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../kit/clock.ts'
import type { HostLedger } from './host-process.ts'
import { killMarked } from './marks.ts'
import { readProcess } from './process-table.ts'

/** A process as it can be recognised again: numbers are reused, the moment of a start is not. */
interface Recorded {
  readonly pid: number
  /** Field 22 of /proc/<pid>/stat: clock ticks since boot. */
  readonly startTicks: number
}

/**
 * Keeps `run/hosts.json`, the list of the host processes of this daemon, as well as the disk allows.
 *
 * It is not synced, and nobody waits for it: it matters after a kill of the daemon, not after a power cut, and a disk
 * that is full or hangs must neither block the daemon nor keep a module from coming back.
 */
export class Ledger implements HostLedger {
  readonly mark = randomUUID()
  readonly #file: string
  readonly #hosts = new Map<number, number>()
  #writing: Promise<void> | undefined
  #isDirty = false

  constructor(runDir: string) {
    this.#file = join(runDir, HOSTS_FILE)
    this.#write()
  }

  add(pid: number): void {
    const startTicks = readProcess(pid)?.startTicks
    if (startTicks === undefined) return
    this.#hosts.set(pid, startTicks)
    this.#write()
  }

  remove(pid: number): void {
    if (this.#hosts.delete(pid)) this.#write()
  }

  /** Resolves when the file says what is known, or could not be written. */
  async settled(): Promise<void> {
    await this.#writing
  }

  /** One write at a time; what changes meanwhile goes into the next. */
  #write(): void {
    this.#isDirty = true
    this.#writing ??= this.#drain().finally(() => {
      this.#writing = undefined
    })
  }

  async #drain(): Promise<void> {
    while (this.#isDirty) {
      this.#isDirty = false
      const hosts: Recorded[] = [...this.#hosts].map(([pid, startTicks]) => ({ pid, startTicks }))
      try {
        const text = JSON.stringify({ boot: bootId(), mark: this.mark, hosts })
        await writeFile(`${this.#file}.tmp`, text, { mode: 0o600 })
        await rename(`${this.#file}.tmp`, this.#file)
      } catch {
        // Whatever the disk has, the daemon learns it from its journal; the next change tries again.
      }
    }
  }
}

/**
 * Kills what a former daemon left running, and waits until it is gone: its hosts, and what those have started. A
 * process that merely has the number of one of them is not touched.
 *
 * @returns The process ids that were killed.
 */
export async function killLeftovers(runDir: string, clock: Clock): Promise<number[]> {
  const { mark, hosts } = readLedger(join(runDir, HOSTS_FILE))
  const left = hosts.filter(isStillThere)
  for (const { pid } of left) killGroup(pid)
  // A daemon that had stopped its hosts has swept behind them, too.
  const strays = hosts.length > 0 && mark !== undefined ? await killMarked(mark, clock) : []
  const enoughMs = clock.elapsed() + WAIT_MS_MAX
  // A timer of the clock would not keep a process alive that has nothing else to do yet; a read does.
  while (left.some(isStillThere) && clock.elapsed() < enoughMs) await readFile('/proc/self/stat')
  return [...new Set([...left.map(({ pid }) => pid), ...strays])]
}

function readLedger(file: string): { mark?: string; hosts: Recorded[] } {
  let written: { boot?: unknown; mark?: unknown; hosts?: unknown }
  try {
    written = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    // Missing at the first start, or torn by a power cut: then there is nothing left to kill.
    return { hosts: [] }
  }
  const { boot, mark, hosts } = written
  if (boot !== bootId() || !Array.isArray(hosts)) return { hosts: [] }
  return {
    ...(typeof mark === 'string' && UUID.test(mark) ? { mark } : {}),
    hosts: hosts.filter(
      (host: Partial<Recorded> | null) =>
        Number.isSafeInteger(host?.pid) && Number.isSafeInteger(host?.startTicks),
    ),
  }
}

function isStillThere({ pid, startTicks }: Recorded): boolean {
  const now = readProcess(pid)
  return now !== undefined && now.startTicks === startTicks && now.state !== 'Z' && now.parent !== process.pid
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // It went by itself between the look and the shot, or belongs to another account.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  } catch {
    return ''
  }
}

/** The list, in `data/run`. */
export const HOSTS_FILE = 'hosts.json'
/** KILL takes effect within milliseconds; a process in a hung system call takes as long as the disk. */
const WAIT_MS_MAX = 1_000
/** Anything shorter could be the beginning of somebody else's mark. */
const UUID = /^[0-9a-f-]{36}$/
