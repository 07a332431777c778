import { dirname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type FailureFacts, NexusError } from '../contracts/failure.ts'
import { RPC_CODES } from '../contracts/wire.ts'
import type { Finding } from './autopsy-frames.ts'
import { brokenSentence, thrownOf } from './calls.ts'
import { withoutInternals } from './child/thrown.ts'
import type { Departure, SpawnOrder } from './port.ts'
import { RpcBroken, RpcFailure } from './rpc.ts'

/** How far a start got before it failed. */
export type StartPhase = 'spawn' | 'import' | 'start' | 'deadline'

/** What is known of a start that failed. */
export interface StartEvidence {
  readonly order: Pick<SpawnOrder, 'moduleId' | 'timeouts' | 'entry'>
  readonly phase: 'import' | 'start'
  readonly error: unknown
  /** How its process ended, if it did. */
  readonly departure: Departure | undefined
  /** Stack of the error that nobody caught, if one ended it. */
  readonly lastWords: string | undefined
  /** The last it wrote to stderr. */
  readonly report: string
  /** Where it was blocked when its time was up. */
  readonly finding?: Finding | undefined
}

/**
 * Says why a module did not start. Facts beside the sentence: `stack`; `unloadable` 1 when only new code helps;
 * `config_error` 1 when only new settings do; `exit_code` when its process ended by itself; `displaced` 1 when another
 * module in its host was at fault, or nobody knows who.
 */
export function explainStart({
  order,
  phase,
  error,
  departure,
  lastWords,
  report,
  finding,
}: StartEvidence): NexusError {
  if (error instanceof RpcFailure) {
    const { stack, config_error } = thrownOf(error)
    const unloadable = error.code === RPC_CODES.unloadable ? 1 : 0
    const folder = dirname(order.entry)
    const isPlaced = placeIn(stack, folder) !== undefined || placeIn(report, folder) === undefined
    const full = isPlaced ? stack : withoutInternals(report)
    const place = placeIn(full, folder)
    const reason = place === undefined ? error.message : `${error.message} (${place})`
    return startFailure(order.moduleId, phase, reason, { stack: full, config_error, unloadable }, error)
  }
  if (!(error instanceof RpcBroken)) throw error
  if (error.how === 'expired') {
    const where = finding === undefined ? '' : `: it is blocked in ${finding.blockedAt}`
    const reason = `${phase} was not done after ${order.timeouts.start_ms} ms${where}`
    const seen = finding?.stack === undefined ? {} : { stack: finding.stack }
    return startFailure(order.moduleId, 'deadline', reason, seen, error)
  }
  if (error.how !== 'closed') return startFailure(order.moduleId, phase, brokenSentence(error), {}, error)
  const exit = departure?.how === 'exited' ? { exit_code: departure.exitCode ?? -1 } : {}
  const displaced = departure?.how === 'displaced' ? displacedFacts(departure.culprit) : {}
  const blocked = departure?.how === 'hung' ? departure.stack : undefined
  const reason = `its process ${sentence(departure)}`
  return startFailure(
    order.moduleId,
    phase,
    reason,
    { stack: blocked ?? lastWords ?? withoutInternals(report), ...exit, ...displaced },
    error,
  )
}

function displacedFacts(culprit: string | undefined): FailureFacts {
  return culprit === undefined ? { displaced: 1 } : { displaced: 1, culprit }
}

/** `MODULE_START_FAILED`, with the phase it failed in. */
export function startFailure(
  module: string,
  phase: StartPhase,
  reason: string,
  facts: FailureFacts = {},
  cause?: Error,
): NexusError {
  return new NexusError('MODULE_START_FAILED', { module, phase, reason, ...facts }, { cause })
}

/** The first line of a file of the module that a stack names, as `file:line` within its folder. */
export function placeIn(stack: string, folder: string): string | undefined {
  // Frames of CommonJS name paths, those of ES modules URLs.
  for (const root of [pathToFileURL(folder).href, folder]) {
    const from = stack.indexOf(`${root}/`)
    const match = from === -1 ? null : /^[^\n:]+:\d+/.exec(stack.slice(from + root.length + 1))
    if (match !== null) return match[0]
  }
  return undefined
}

function sentence(departure: Departure | undefined): string {
  switch (departure?.how) {
    case 'exited': {
      const { exitCode, signal, said } = departure
      const how = signal === null ? `exited with code ${exitCode}` : `was ended by ${signal}`
      return said === undefined ? how : `${how}: ${said}`
    }
    case 'hung': {
      const where = departure.blockedAt === undefined ? '' : `, blocked in ${departure.blockedAt}`
      return `hung: no heartbeat for ${departure.missingMs} ms${where}`
    }
    case 'displaced':
      return `lost its shared host: ${departure.reason}`
    case 'killed':
      return `was killed: ${departure.because}`
    case 'halted':
    case undefined:
      return 'was halted'
  }
}
