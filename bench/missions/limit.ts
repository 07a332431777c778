import { closeSync, fdatasync, fdatasyncSync, mkdtempSync, openSync, rmSync, write, writeSync } from 'node:fs'
import { join } from 'node:path'
import { median } from '../kit/numbers.ts'

/** What this disk allows. */
export interface LimitFigure {
  /** Jobs a second that are nothing but two synced records each, 64 in flight, group commit. */
  readonly logPerSecond: number
  readonly syncs: number
  /** Median of a small write with its `fdatasync`, alone. */
  readonly syncMs: number
}

export async function measureLimit(root: string, jobs: number): Promise<LimitFigure> {
  const dir = mkdtempSync(join(root, 'nxm-limit-'))
  try {
    const fd = openSync(join(dir, 'alone'), 'a')
    const times = Array.from({ length: SYNCS }, () => {
      const startedMs = performance.now()
      writeSync(fd, RECORD)
      fdatasyncSync(fd)
      return performance.now() - startedMs
    })
    closeSync(fd)
    await runLog(join(dir, 'warm'), Math.ceil(jobs / 10))
    return { ...(await runLog(join(dir, 'log'), jobs)), syncMs: median(times) }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function runLog(file: string, jobs: number): Promise<Omit<LimitFigure, 'syncMs'>> {
  const fd = openSync(file, 'a')
  let waiting: { readonly line: string; readonly done: () => void }[] = []
  let isBusy = false
  let syncs = 0
  const flush = (): void => {
    if (isBusy || waiting.length === 0) return
    isBusy = true
    const batch = waiting
    waiting = []
    write(fd, batch.map(({ line }) => line).join(''), () =>
      fdatasync(fd, () => {
        syncs += 1
        isBusy = false
        for (const { done } of batch) done()
        flush()
      }),
    )
  }
  const append = (record: object): Promise<void> =>
    new Promise((done) => {
      waiting.push({ line: `${JSON.stringify(record)}\n`, done })
      flush()
    })
  const startedMs = performance.now()
  let next = 0
  const work = async (): Promise<void> => {
    while (next < jobs) {
      const id = next
      next += 1
      await append({ type: 'accepted', id, ...ORDER })
      await append({ type: 'finished', id, result: { ok: true } })
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, work))
  const logPerSecond = jobs / ((performance.now() - startedMs) / 1_000)
  closeSync(fd)
  return { logPerSecond, syncs }
}

const ORDER = {
  goal: 'Optimize lead conversion process',
  category: 'coin',
  constraints: { max_time_seconds: 60, max_steps: 3 },
}
const RECORD = `${JSON.stringify({ type: 'accepted', id: 1, ...ORDER })}\n`
const IN_FLIGHT = 64
const SYNCS = 100
