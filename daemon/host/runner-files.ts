import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * Where the program of a host lies: TypeScript beside this file in a checkout, JavaScript in `dist`. The one place
 * that knows both.
 */
export function findRunner(): Runner {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const locate = (name: string): string =>
    realpathSync(fileURLToPath(new URL(`../${name}.${extension}`, import.meta.url)))
  return { entry: locate(RUNNER_ENTRY), files: RUNNER_PARTS.map(locate) }
}

export interface Runner {
  readonly entry: string
  /** Every file it reads to boot, itself among them; a wall must let it. */
  readonly files: readonly string[]
}

const RUNNER_ENTRY = 'host/runner'

const RUNNER_PARTS = [
  RUNNER_ENTRY,
  'contracts/wire',
  'host/child/asking',
  'host/child/capture',
  'host/child/closed',
  'host/child/context',
  'host/child/gaps',
  'host/child/household',
  'host/child/instruments',
  'host/child/load',
  'host/child/progress',
  'host/child/pulse',
  'host/child/resident',
  'host/child/say',
  'host/child/thrown',
  'host/child/voice',
  'host/child/whose',
  'host/lines',
  'host/rpc',
  'host/rpc-message',
  'kit/clock',
]
