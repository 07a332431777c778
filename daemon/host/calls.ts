import { NexusError } from '../contracts/failure.ts'
import { RPC_CODES } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { readAnswer } from './heard.ts'
import type { CallAnswer, CallOrder } from './port.ts'
import { type Asked, RpcBroken, RpcFailure, type RpcPeer } from './rpc.ts'

/** Whose call it is, for the sentences of its failures. */
export interface CallName {
  readonly module: string
  readonly action: string
}

/**
 * Waits for an action's answer. On abort, or when time is up, the module is asked to give up; it has a second's
 * grace, after which the call rejects all the same, with the fact `stuck` 1: the work may still be going on.
 */
export function awaitCall(clock: Clock, asked: Asked, order: CallOrder, name: CallName): Promise<CallAnswer> {
  return new Promise((resolve, reject) => {
    let given: 'CALL_ABORTED' | 'CALL_EXPIRED' | undefined
    const giveUp = (code: 'CALL_ABORTED' | 'CALL_EXPIRED', reason: string): void => {
      if (given !== undefined) return
      given = code
      asked.cancel(reason)
      grace = clock.after(GRACE_MS, () => {
        asked.forget()
        end()
        reject(gaveUp(code, name, order, 1))
      })
    }
    const abort = (): void => giveUp('CALL_ABORTED', 'abort')
    const end = (): void => {
      deadline.cancel()
      grace?.cancel()
      order.signal?.removeEventListener('abort', abort)
    }
    let grace: { cancel(): void } | undefined
    const deadline = clock.after(order.timeoutMs, () => giveUp('CALL_EXPIRED', 'deadline'))
    order.signal?.addEventListener('abort', abort, { once: true })

    asked.answer.then(
      (answer) => {
        end()
        if (given === undefined) resolve(readAnswer(answer))
        else reject(gaveUp(given, name, order, 0))
      },
      (error: unknown) => {
        end()
        const isCut = error instanceof RpcBroken
        reject(given === undefined || isCut ? failedCall(error, name) : gaveUp(given, name, order, 0))
      },
    )
  })
}

/** What the runner or the pipe said, in the daemon's words. */
export function failedCall(error: unknown, name: CallName): NexusError {
  const facts = { ...name }
  if (error instanceof RpcBroken) {
    const cut = error.how === 'closed'
    if (cut) return new NexusError('CALL_CUT', facts, { cause: error })
    return new NexusError('ACTION_FAILED', { ...facts, reason: brokenSentence(error) }, { cause: error })
  }
  if (!(error instanceof RpcFailure)) throw error
  const { stack, config_error } = thrownOf(error)
  if (error.code === RPC_CODES.aborted) {
    return new NexusError(
      'CALL_ABORTED',
      { ...facts, reason: 'its instance stops', stuck: 0 },
      { cause: error },
    )
  }
  return new NexusError(
    'ACTION_FAILED',
    { ...facts, reason: error.message, stack, config_error },
    { cause: error },
  )
}

/** Why a request got no answer, for people. */
export function brokenSentence(error: RpcBroken): string {
  return SENTENCES[error.how]
}

/** Name and stack of what the module threw, as far as the answer tells. */
export function thrownOf(failure: RpcFailure): { name: string; stack: string; config_error: 0 | 1 } {
  const { name, stack, config_error } = (failure.data ?? {}) as Partial<Record<string, unknown>>
  return {
    name: typeof name === 'string' ? name : 'Error',
    stack: typeof stack === 'string' ? stack : failure.message,
    config_error: config_error === true ? 1 : 0,
  }
}

/** Asks the module itself, outside of actions, and says its failures in the daemon's words. */
export async function askModule(
  peer: RpcPeer,
  method: 'health' | 'configure' | 'snapshot',
  params: object,
  waitMs: number,
  module: string,
): Promise<unknown> {
  try {
    return await peer.request(method, params, waitMs)
  } catch (error) {
    if (error instanceof RpcBroken && error.how === 'expired') {
      throw new NexusError('CALL_EXPIRED', { module, action: method, timeout_ms: waitMs }, { cause: error })
    }
    throw failedCall(error, { module, action: method })
  }
}

function gaveUp(
  code: 'CALL_ABORTED' | 'CALL_EXPIRED',
  name: CallName,
  order: CallOrder,
  stuck: 0 | 1,
): NexusError {
  const reason: unknown = order.signal?.reason
  const said = reason instanceof Error ? reason.message : String(reason ?? 'its caller gave up')
  return new NexusError(code, { ...name, timeout_ms: order.timeoutMs, reason: said, stuck })
}

const SENTENCES = {
  closed: 'the instance ended',
  full: 'the host does not read what it is sent',
  window: 'too many calls are waiting for its answer',
  'too large': 'what was to be sent has more than a megabyte',
  expired: 'no answer came in time',
} as const

const GRACE_MS = 1_000
