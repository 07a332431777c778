import type { Departure } from '../host/port.ts'

/** What is left of a replica that went by itself. */
export interface Leaver {
  readonly id: string
  readonly set: { readonly generation: { readonly id: string } }
}

/** The fact that a departure leaves. */
export function departureFact(
  replica: Leaver,
  departure: Departure,
  readyMs: number,
): { readonly type: string; readonly d: Readonly<Record<string, unknown>> } {
  return {
    type: TYPES[departure.how] ?? 'module.crashed',
    d: {
      generation: replica.set.generation.id,
      instance: replica.id,
      how: departure.how,
      reason: describeDeparture(departure),
      ready_ms: Math.round(readyMs),
      ...detailsOf(departure),
    },
  }
}

/** How an instance ended, in words. */
export function describeDeparture(departure: Departure): string {
  switch (departure.how) {
    case 'halted':
      return 'it was stopped'
    case 'exited':
      return exitSentence(departure)
    case 'hung':
      return hangSentence(departure)
    case 'displaced':
      return departure.culprit === undefined
        ? `its shared host ended (${departure.reason})`
        : `its shared host ended by the fault of ${departure.culprit} (${departure.reason})`
    case 'killed':
      return departure.because
  }
}

const TYPES: Readonly<Partial<Record<Departure['how'], string>>> = {
  hung: 'module.hung',
  displaced: 'module.displaced',
}

function detailsOf(departure: Departure): Readonly<Record<string, unknown>> {
  switch (departure.how) {
    case 'exited':
      return {
        exit_code: departure.exitCode,
        signal: departure.signal,
        stack: departure.stack && withinBytes(departure.stack, STACK_BYTES_MAX),
      }
    case 'hung':
      return {
        missing_ms: Math.round(departure.missingMs),
        blocked_at: departure.blockedAt,
        stack: departure.stack && withinBytes(departure.stack, STACK_BYTES_MAX),
      }
    case 'displaced':
      return { culprit: departure.culprit }
    case 'halted':
    case 'killed':
      return {}
  }
}

function exitSentence({ exitCode, signal, said }: Extract<Departure, { how: 'exited' }>): string {
  const how = signal === null ? `it exited with code ${exitCode}` : `it ended by ${signal}`
  return said === undefined ? how : `${how}: ${said}`
}

function hangSentence({ missingMs, blockedAt }: Extract<Departure, { how: 'hung' }>): string {
  const ms = Math.round(missingMs)
  return blockedAt === undefined
    ? `no heartbeat came from it for ${ms} ms`
    : `its event loop was blocked for ${ms} ms in ${blockedAt}`
}

/** The innermost frames stand first; a line of the journal has to hold what is kept. */
const STACK_BYTES_MAX = 8_192

/** As much of the beginning as fits, in whole characters. */
function withinBytes(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text)
  if (bytes.byteLength <= bytesMax) return text
  // A cut character decodes to U+FFFD, three bytes where one to three stood.
  return bytes
    .subarray(0, bytesMax)
    .toString()
    .replace(/\uFFFD+$/, '')
}
