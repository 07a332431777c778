import { readdirSync, readFileSync } from 'node:fs'

/** A process and everything below it. */
export function treeOf(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const fields = /^\d+$/.test(name) ? statOf(Number(name)) : undefined
    const parent = Number(fields?.[1])
    if (fields !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)])
  }
  const found: number[] = []
  for (const queue = [root]; queue.length > 0; ) {
    const pid = queue.pop() as number
    found.push(pid)
    queue.push(...(children.get(pid) ?? []))
  }
  return found
}

/** Proportional set size, in MiB: memory that several processes share counts once in a sum. */
export function pssMiB(pids: readonly number[]): number {
  const kib = pids.map((pid) => Number(/^Pss:\s+(\d+)/m.exec(textOf(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0))
  return kib.reduce((sum, one) => sum + one, 0) / 1_024
}

/** User and system time so far, in milliseconds; the kernel counts in steps of ten. */
export function cpuMs(pids: readonly number[]): number {
  const ticks = pids.map((pid) => {
    const fields = statOf(pid)
    return fields === undefined ? 0 : Number(fields[11]) + Number(fields[12])
  })
  return ticks.reduce((sum, one) => sum + one, 0) * TICK_MS
}

/** Open descriptors of a process; 0 when it is gone. */
export function openFiles(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length
  } catch {
    return 0
  }
}

/** Resident memory of one process, in MiB. */
export function rssMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(textOf(`/proc/${pid}/status`))?.[1] ?? 0) / 1_024
}

function isAlive(pid: number): boolean {
  const state = statOf(pid)?.[0]
  return state !== undefined && state !== 'Z'
}

/** Ends processes that were started here, and waits until they are gone; five seconds at most. */
export async function endAll(pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // gone already
    }
  }
  const endMs = performance.now() + 5_000
  while (pids.some(isAlive) && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** The fields of `/proc/<pid>/stat` from the third on: the second may hold anything. */
function statOf(pid: number): string[] | undefined {
  const text = textOf(`/proc/${pid}/stat`)
  return text === '' ? undefined : text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

const TICK_MS = 10
