import { readFileSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../kit/clock.ts'
import type { HostLedger } from './host-process.ts'

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
  readonly #file: string
  readonly #hosts = new Map<number, number>()
  #writing: Promise<void> | undefined
  #isDirty = false

  constructor(runDir: string) {
    this.#file = join(runDir, HOSTS_FILE)
    this.#write()
  }

  add(pid: number): void {
    const startTicks = readStat(pid)?.startTicks
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
        await writeFile(`${this.#file}.tmp`, JSON.stringify({ boot: bootId(), hosts }), { mode: 0o600 })
        await rename(`${this.#file}.tmp`, this.#file)
      } catch {
        // Whatever the disk has, the daemon learns it from its journal; the next change tries again.
      }
    }
  }
}

/**
 * Kills what a former daemon left running, and waits until it is gone. A process that merely has the number of one of
 * them is not touched.
 *
 * @returns The process ids that were killed.
 */
export async function killLeftovers(runDir: string, clock: Clock): Promise<number[]> {
  const left = readLedger(join(runDir, HOSTS_FILE)).filter(isStillThere)
  for (const { pid } of left) killGroup(pid)
  const enoughMs = clock.elapsed() + WAIT_MS_MAX
  // A timer of the clock would not keep a process alive that has nothing else to do yet; a read does.
  while (left.some(isStillThere) && clock.elapsed() < enoughMs) await readFile('/proc/self/stat')
  return left.map(({ pid }) => pid)
}

function readLedger(file: string): Recorded[] {
  let written: { boot?: unknown; hosts?: unknown }
  try {
    written = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    // Missing at the first start, or torn by a power cut: then there is nothing left to kill.
    return []
  }
  if (written.boot !== bootId() || !Array.isArray(written.hosts)) return []
  return written.hosts.filter(
    (host: Partial<Recorded> | null) =>
      Number.isSafeInteger(host?.pid) && Number.isSafeInteger(host?.startTicks),
  )
}

function isStillThere({ pid, startTicks }: Recorded): boolean {
  const stat = readStat(pid)
  return (
    stat !== undefined && stat.startTicks === startTicks && stat.state !== 'Z' && stat.parent !== process.pid
  )
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

function readStat(pid: number): { state: string; parent: number; startTicks: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name stands in brackets and may contain anything, brackets included.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0] ?? '', parent: Number(fields[1]), startTicks: Number(fields[19]) }
  } catch {
    // No such process, or no /proc: then nothing can be recognised, so nothing is killed.
    return undefined
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
