import { NexusError } from '../contracts/failure.ts'
import type { Clock } from '../kit/clock.ts'
import { isLoopback } from './loopback.ts'

/** A working day: whoever forgets it has not left it open for the night. */
const OPEN_MS = 8 * 3_600_000

/** Where a daemon is about to run, as far as `--dev` is concerned. */
export interface Surroundings {
  /** Every address it will listen on. */
  readonly hosts: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly pid: number
}

/** Whether the published key is accepted at this moment. */
export interface DevMode {
  readonly active: boolean
}

export const NO_DEV_MODE: DevMode = { active: false }

/** What a person sees at the start, so that nobody runs like this unawares. */
export const DEV_BANNER =
  'DEVELOPMENT MODE: the key printed in the documentation opens this daemon. Anyone on this machine may approve ' +
  'and override. It ends by itself after 8 hours.'

/** @throws NexusError `DEV_REFUSED`, exit 78. */
export function startDevMode(surroundings: Surroundings, clock: Clock): DevMode {
  const reason = whyRefused(surroundings)
  if (reason !== undefined) throw new NexusError('DEV_REFUSED', { reason })
  const startedMs = clock.elapsed()
  return {
    get active() {
      return clock.elapsed() - startedMs < OPEN_MS
    },
  }
}

function whyRefused({ hosts, env, pid }: Surroundings): string | undefined {
  const open = hosts.find((host) => !isLoopback(host))
  if (open !== undefined) return `it would listen on ${open}, which others can reach`
  if (env['NODE_ENV']?.trim().toLowerCase() === 'production') return 'NODE_ENV is production'
  if (env['KUBERNETES_SERVICE_HOST'] !== undefined) return 'this is a Kubernetes pod'
  if (pid === 1) return 'this is the first process of a container'
  return undefined
}
