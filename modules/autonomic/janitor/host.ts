import { statfs } from 'node:fs/promises'
import os from 'node:os'

/** The machine, as far as it tells. */
export interface Host {
  readonly cores: number
  readonly load: { readonly one: number; readonly five: number; readonly fifteen: number }
  readonly memory: {
    readonly total_bytes: number
    readonly available_bytes: number
    readonly used_percent: number
  }
  /** Where the data folder lies. */
  readonly disk: {
    readonly total_bytes: number
    readonly available_bytes: number
    readonly used_percent: number
  } | null
  readonly uptime_seconds: number
}

/** @param folder - On the disk that counts. */
export async function readHost(folder: string, unknown: Record<string, string>): Promise<Host> {
  const [one = 0, five = 0, fifteen = 0] = os.loadavg()
  const disk = await statfs(folder).catch((cause: NodeJS.ErrnoException) => {
    unknown['disk'] = `the disk of ${folder} cannot be measured (${cause.code})`
  })
  return {
    cores: os.availableParallelism(),
    load: { one: round(one), five: round(five), fifteen: round(fifteen) },
    memory: usage(os.totalmem(), os.freemem()),
    disk: disk === undefined ? null : usage(disk.blocks * disk.bsize, disk.bavail * disk.bsize),
    uptime_seconds: Math.round(os.uptime()),
  }
}

function usage(total_bytes: number, available_bytes: number) {
  const share = total_bytes === 0 ? 0 : 1 - available_bytes / total_bytes
  return { total_bytes, available_bytes, used_percent: Math.round(share * 1_000) / 10 }
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
