import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, sleep } from '../kit/clock.ts'
import type { HostLedger } from './host-process.ts'

/** A process as it can be recognised again: numbers are reused, the moment of a start is not. */
interface Recorded {
  readonly pid: number
  /** Field 22 of /proc/<pid>/stat: clock ticks since boot. */
  readonly startTicks: number
}

/**
 * Keeps `run/hosts.json`, the list of host processes of this daemon. It is not synced: it matters after a kill of the
 * daemon, not after a power cut, and a machine that booted anew has no leftovers.
 */
export function openLedger(runDir: string): HostLedger {
  const file = join(runDir, FILE)
  const hosts = new Map<number, number>()
  const write = (): void => {
    const entries: Recorded[] = [...hosts].map(([pid, startTicks]) => ({ pid, startTicks }))
    writeFileSync(`${file}.tmp`, JSON.stringify({ boot: bootId(), hosts: entries }), { mode: 0o600 })
    renameSync(`${file}.tmp`, file)
  }
  mkdirSync(runDir, { recursive: true, mode: 0o700 })
  write()
  return {
    add(pid) {
      const startTicks = readStat(pid)?.startTicks
      if (startTicks === undefined) return
      hosts.set(pid, startTicks)
      write()
    },
    remove(pid) {
      if (hosts.delete(pid)) write()
    },
  }
}

/**
 * Kills what a former daemon left running, and waits until it is gone. A process that merely has the number of one of
 * them is not touched.
 *
 * @returns The process ids that were killed.
 */
export async function killLeftovers(runDir: string, clock: Clock): Promise<number[]> {
  const left = readLedger(join(runDir, FILE)).filter(isStillThere)
  for (const { pid } of left) killGroup(pid)
  for (let looks = 0; looks < LOOKS_MAX && left.some(isStillThere); looks += 1) await sleep(clock, LOOK_MS)
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

const FILE = 'hosts.json'
/** KILL takes effect within milliseconds; a process in a hung system call takes as long as the disk. */
const LOOK_MS = 10
const LOOKS_MAX = 100
