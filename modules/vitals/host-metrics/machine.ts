import { readFile, statfs } from 'node:fs/promises'
import os from 'node:os'

/** CPU time of all cores together since the start of the machine. */
export interface CpuTimes {
  readonly busyMs: number
  readonly totalMs: number
  readonly cores: number
}

/** What the machine tells, as a port: some machines tell less than others. */
export interface Machine {
  cpuTimes(): CpuTimes
  memory(): { totalBytes: number; availableBytes: number; limitBytes: number | null }
  load(): readonly number[]
  uptimeSeconds(): number
  disk(path: string): Promise<{ totalBytes: number; availableBytes: number }>
  /** `/proc/sys/fs/file-nr`. */
  fileNr(): Promise<string>
}

/** Built-ins where they suffice: they need no permission to read files. */
export const thisMachine: Machine = {
  cpuTimes() {
    const cores = os.cpus()
    let busyMs = 0
    let idleMs = 0
    for (const { times } of cores) {
      busyMs += times.user + times.nice + times.sys + times.irq
      idleMs += times.idle
    }
    return { busyMs, totalMs: busyMs + idleMs, cores: cores.length }
  },
  memory() {
    const totalBytes = os.totalmem()
    const limit = process.constrainedMemory()
    // The system says 2⁶³ and the like where there is no limit. `freemem` is MemAvailable on Linux.
    const limitBytes = limit > 0 && limit < totalBytes ? limit : null
    return { totalBytes, availableBytes: os.freemem(), limitBytes }
  },
  load: () => os.loadavg(),
  uptimeSeconds: () => os.uptime(),
  async disk(path) {
    const { bsize, blocks, bavail } = await statfs(path)
    return { totalBytes: bsize * blocks, availableBytes: bsize * bavail }
  },
  fileNr: () => readFile('/proc/sys/fs/file-nr', 'utf8'),
}
