import type { CpuTimes, Machine } from './machine.ts'

export interface Reading {
  readonly summary: string
  /** RFC 3339. */
  readonly at: string
  readonly uptime_seconds: number
  readonly cpu: { percent: number; cores: number; over_ms: number } | null
  readonly memory: {
    total_bytes: number
    available_bytes: number
    used_percent: number
    limit_bytes: number | null
  } | null
  readonly disk: { path: string; total_bytes: number; available_bytes: number; used_percent: number } | null
  readonly load: { one: number; five: number; fifteen: number; one_per_core: number | null } | null
  readonly open_files: { allocated: number; limit: number | null } | null
  /** Why something is null, by its name. */
  readonly unknown: Readonly<Record<string, string>>
}

/** CPU times and when they were read. */
export interface CpuMark extends CpuTimes {
  readonly atMs: number
}

/** One look at everything. Each part fails for itself. */
export async function measure(
  machine: Machine,
  diskPath: string,
  since: CpuMark,
  until: CpuMark,
  nowMs: number,
): Promise<Reading> {
  const unknown: Record<string, string> = {}
  const read = async <T>(name: string, part: () => T | Promise<T>): Promise<T | null> => {
    try {
      return await part()
    } catch (thrown) {
      unknown[name] = thrown instanceof Error ? thrown.message : String(thrown)
      return null
    }
  }
  const parts = {
    cpu: await read('cpu', () => cpuBetween(since, until)),
    memory: await read('memory', () => memoryOf(machine)),
    disk: await read('disk', () => diskOf(machine, diskPath)),
    load: await read('load', () => loadOf(machine.load(), until.cores)),
    open_files: await read('open_files', async () => openFiles(await machine.fileNr())),
  }
  return {
    summary: summarise(parts),
    at: new Date(nowMs).toISOString(),
    uptime_seconds: Math.round(machine.uptimeSeconds()),
    ...parts,
    unknown,
  }
}

function cpuBetween(since: CpuMark, until: CpuMark): Reading['cpu'] {
  if (until.cores === 0) throw new Error('the system does not tell the times of its CPUs')
  const totalMs = until.totalMs - since.totalMs
  if (totalMs <= 0) throw new Error('no CPU time has passed since the sample before')
  const share = Math.min(1, Math.max(0, (until.busyMs - since.busyMs) / totalMs))
  return { percent: percent(share), cores: until.cores, over_ms: Math.round(until.atMs - since.atMs) }
}

function memoryOf(machine: Machine): Reading['memory'] {
  const { totalBytes, availableBytes, limitBytes } = machine.memory()
  return {
    total_bytes: totalBytes,
    available_bytes: availableBytes,
    used_percent: percent(1 - availableBytes / totalBytes),
    limit_bytes: limitBytes,
  }
}

async function diskOf(machine: Machine, path: string): Promise<Reading['disk']> {
  const { totalBytes, availableBytes } = await machine.disk(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ERR_ACCESS_DENIED')
      throw new Error(`${path} cannot be measured: ${cause.code}`, { cause })
    const remedy = `start the daemon with --allow-read ${path}, or set disk_path to a folder modules may read`
    throw new Error(`modules may not read ${path}: ${remedy}`, { cause })
  })
  if (totalBytes === 0) throw new Error(`${path} lies on a file system that has no size`)
  const used_percent = percent(1 - availableBytes / totalBytes)
  return { path, total_bytes: totalBytes, available_bytes: availableBytes, used_percent }
}

function loadOf([one, five, fifteen]: readonly number[], cores: number): Reading['load'] {
  if (one === undefined || five === undefined || fifteen === undefined) {
    throw new Error('the system does not tell its load')
  }
  return {
    one: round(one),
    five: round(five),
    fifteen: round(fifteen),
    one_per_core: cores === 0 ? null : round(one / cores),
  }
}

/** `allocated unused limit`; a limit no double can hold is the kernel's way to say none. */
function openFiles(text: string): Reading['open_files'] {
  const [allocated, unused, limit] = text.trim().split(/\s+/).map(Number)
  if (allocated === undefined || unused === undefined || !Number.isSafeInteger(allocated - unused)) {
    throw new Error('/proc/sys/fs/file-nr holds no numbers')
  }
  return { allocated: allocated - unused, limit: Number.isSafeInteger(limit) ? (limit as number) : null }
}

function summarise({ cpu, memory, disk, load }: Pick<Reading, 'cpu' | 'memory' | 'disk' | 'load'>): string {
  const parts = [
    cpu && `CPU ${cpu.percent} % of ${cpu.cores} core${cpu.cores === 1 ? '' : 's'}`,
    memory && `memory ${memory.used_percent} % used`,
    disk && `disk ${disk.used_percent} % used`,
    load && `load ${load.one}`,
  ]
  return `${parts.map((part, at) => part ?? `${['CPU', 'memory', 'disk', 'load'][at]} unknown`).join(', ')}.`
}

function percent(share: number): number {
  return Math.round(Math.min(1, Math.max(0, share)) * 1_000) / 10
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
