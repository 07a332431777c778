import { Socket } from 'node:net'
import type { ActionParams, HelloParams, InitializeParams } from '../contracts/wire.ts'
import { systemClock } from '../kit/clock.ts'
import { ASKED_MAX } from './child/asking.ts'
import { beat } from './child/pulse.ts'
import { Resident } from './child/resident.ts'
import { describe } from './child/thrown.ts'
import { RpcFailure, RpcPeer } from './rpc.ts'
import type { RpcId } from './rpc-message.ts'

/*
 * The program that runs in a host process. It says hello, waits until it is told which module to be, and is that
 * module until its pipe closes. Everything it imports is read at every boot, so it imports little.
 */

/** What this program adds to `hello`: whether the wall it was started behind really stands. */
export interface RunnerHello extends HelloParams {
  readonly walled: boolean
}

let resident: Resident | undefined

const pipe = new Socket({ fd: Number(process.env['NEXUS_FD'] ?? 3), readable: true, writable: true })
const peer = new RpcPeer(
  pipe,
  systemClock,
  {
    outstandingMax: ASKED_MAX,
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

process.on('uncaughtException', fall)
process.on('unhandledRejection', fall)
peer.notify('hello', { pid: process.pid, node: process.version, walled: isWalled() } satisfies RunnerHello)

async function answer(method: string, params: unknown, id: RpcId, signal: AbortSignal): Promise<unknown> {
  if (method === 'initialize') return await initialize(params as InitializeParams)
  if (resident === undefined) throw new RpcFailure(-32600, `${method} before initialize`)
  switch (method) {
    case 'start':
      return await resident.start()
    case 'stop':
      return await resident.stop()
    case 'health':
      return await resident.health()
    case 'configure':
      return await resident.configure(params)
    case 'snapshot':
      return await resident.snapshot()
    case 'action':
      return await resident.act(params as ActionParams, id, signal)
    default:
      throw new RpcFailure(-32601, `no method ${method}`)
  }
}

async function initialize(params: InitializeParams): Promise<unknown> {
  if (resident !== undefined) throw new RpcFailure(-32600, 'initialize twice')
  resident = await Resident.load(peer, systemClock, params)
  beat(systemClock, params.heartbeat_ms, (heartbeat) => peer.notify('heartbeat', heartbeat))
  return resident.answer
}

/** An error that nobody caught: the state of the module is unknown, so the process ends, with its last words. */
function fall(thrown: unknown): void {
  const { name, message, stack } = describe(thrown)
  peer.notify('log', {
    level: 'error',
    message: `uncaught ${name}: ${message}`,
    fields: { stack, uncaught: true },
  })
  if (pipe.writableLength === 0) process.exit(1)
  pipe.once('drain', () => process.exit(1))
  systemClock.after(LAST_WORDS_MS, () => process.exit(1))
}

function isWalled(): boolean {
  return process.permission !== undefined && !process.permission.has('fs.write', '/')
}

/** A pipe that the daemon does not read within this time will not carry the last words. */
const LAST_WORDS_MS = 100
