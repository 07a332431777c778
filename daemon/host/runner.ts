import { Socket } from 'node:net'
import type { HelloParams, InitializeParams } from '../contracts/wire.ts'
import { systemClock } from '../kit/clock.ts'
import { closeGaps, GAPS_FLAG } from './child/gaps.ts'
import { Household } from './child/household.ts'
import { Pulse } from './child/pulse.ts'
import { RpcPeer } from './rpc.ts'
import type { RpcId } from './rpc-message.ts'

/*
 * The program that runs in a host process. It says hello, waits until it is told which module to be, and is that
 * module until its pipe closes; or it becomes home to several, which come and go. Everything it imports is read at
 * every boot, so it imports little.
 */

/** What this program adds to `hello`: whether the wall it was started behind really stands. */
export interface RunnerHello extends HelloParams {
  readonly walled: boolean
}

let pulse: Pulse | undefined

const pipe = new Socket({ fd: Number(process.env['NEXUS_FD'] ?? 3), readable: true, writable: true })
const peer = new RpcPeer(
  pipe,
  systemClock,
  {
    // Each module asks so many at a time as it may.
    outstandingMax: Number.POSITIVE_INFINITY,
    askedMax: Number.POSITIVE_INFINITY,
    unaskedPerSecondMax: Number.POSITIVE_INFINITY,
    bufferedBytesMax: 16 * 1_048_576,
  },
  {
    request: (method, params, id, signal) => answer(method, params, id, signal),
    notice: () => undefined,
    violation: (reason) => fall(new Error(`the daemon broke the protocol: ${reason}`)),
    // Whoever started this process is gone: nobody would stop it any more.
    closed: () => process.exit(0),
  },
)

const household = new Household(peer, systemClock)

// The daemon says so where the wall is all that stands between the module and the machine.
if (process.argv.includes(GAPS_FLAG) && isWalled()) closeGaps()

process.on('uncaughtException', (thrown) => fall(thrown))
process.on('unhandledRejection', (thrown, promise) => fall(thrown, promise))
peer.notify('hello', { pid: process.pid, node: process.version, walled: isWalled() } satisfies RunnerHello)

async function answer(method: string, params: unknown, id: RpcId, signal: AbortSignal): Promise<unknown> {
  if (method === 'initialize' && pulse === undefined) {
    const { heartbeat_ms } = params as InitializeParams
    pulse = new Pulse(systemClock, heartbeat_ms, (heartbeat) => peer.notify('heartbeat', heartbeat))
    pulse.begin()
  }
  return await household.answer(method, params, id, signal)
}

/** An error that nobody caught: the state of the module is unknown, so the process ends, with its last words. */
function fall(thrown: unknown, promise?: object): void {
  peer.notify('log', household.lastWords(thrown, promise))
  if (pipe.writableLength === 0) process.exit(1)
  pipe.once('drain', () => process.exit(1))
  systemClock.after(LAST_WORDS_MS, () => process.exit(1))
}

function isWalled(): boolean {
  return process.permission !== undefined && !process.permission.has('fs.write', '/')
}

/** A pipe that the daemon does not read within this time will not carry the last words. */
const LAST_WORDS_MS = 100
